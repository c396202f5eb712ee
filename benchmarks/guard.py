"""The regression guard: ratios of a small run against those recorded. Times are a machine's; ratios carry over.

Pure. A figure fails that has lost a third or more; so does one that was to be measured and was not, and one that is
not recorded, unless it awaits its first measurement (named.AWAITED): with nothing to compare nothing would be guarded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.named import AWAITED
from benchmarks.results import Recorded

#: What is left of a ratio that has dropped by a third.
LEAST = 2 / 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """One figure: as recorded, as measured now, None where there is none."""

    name: str
    recorded: float | None
    now: float | None

    @property
    def kept(self) -> float | None:
        """Now over recorded."""
        return None if self.recorded is None or self.now is None else self.now / self.recorded

    @property
    def failed(self) -> bool:
        """A third or more is gone, it was not measured, or there is nothing to compare it with."""
        if self.recorded is None:
            return self.name not in AWAITED
        return self.now is None or self.now <= self.recorded * LEAST

    def row(self) -> str:
        told = "ok" if self.recorded is not None else "not recorded"
        if self.failed:
            told = "FAILED" if self.recorded is not None else "FAILED: not recorded"
        return f"{self.name:42} {_shown(self.recorded)} {_shown(self.now)} {_shown(self.kept)}  {told}"


def compared(recorded: Recorded, now: Recorded, names: Sequence[str]) -> list[Verdict]:
    """A verdict for each name."""
    return [Verdict(name, _ratio(recorded, name), _ratio(now, name)) for name in names]


def table(verdicts: Sequence[Verdict]) -> str:
    header = f"{'figure':42} {'recorded':>9} {'now':>9} {'now/rec.':>9}"
    return "\n".join([header, *(verdict.row() for verdict in verdicts)])


def _ratio(entries: Recorded, name: str) -> float | None:
    number = entries.get(name, {}).get("ratio")
    return None if number is None else float(number)


def _shown(number: float | None) -> str:
    return f"{'-' if number is None else f'{number:.3g}':>9}"
