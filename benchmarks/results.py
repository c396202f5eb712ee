"""benchmarks/results.json: every figure with what made it. RESULTS.md is made from it (`benchmarks.report`)."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import allocator
from benchmarks.process import ROOT

RESULTS = ROOT / "benchmarks" / "results.json"

Recorded = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. A ratio has no unit (`unit` is then "x"); `detail` is what the report shows beside it."""

    name: str
    number: float
    unit: str
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return "ratio" if self.unit == "x" else "value"


class Results:
    """Figures of one run, merged into those recorded before: a name measured again replaces its former self."""

    def __init__(self, command: str, path: Path = RESULTS) -> None:
        self._command, self._path = command, path
        self._commit, self._machine = code_commit(), machine()

    def record(self, *figures: Figure) -> None:
        """Written at once: a run that is cut off keeps what it has measured."""
        recorded = load(self._path)
        for figure in figures:
            recorded[figure.name] = {
                figure.kind: _rounded(figure.number),
                "unit": figure.unit,
                "command": self._command,
                "code_commit": self._commit,
                "machine": self._machine,
                "date": datetime.now(UTC).date().isoformat(),
                **({"detail": dict(figure.detail)} if figure.detail else {}),
            }
        text = json.dumps(dict(sorted(recorded.items())), indent=2, ensure_ascii=False) + "\n"
        self._path.write_text(text, "utf-8")


def load(path: Path = RESULTS) -> Recorded:
    """Name to entry; empty where nothing has been recorded."""
    if not path.exists():
        return {}
    recorded: Recorded = json.loads(path.read_text("utf-8"))
    return recorded


def _rounded(number: float) -> float:
    """Three significant digits: more would claim a precision that no run here has."""
    return float(f"{number:.3g}")


def code_commit() -> str:
    """The commit that was measured, with `+changes` where the measured code differs from it."""
    head = _git("rev-parse", "HEAD")
    if not head:
        return "unknown"
    measured = ("topics", "replayer", "constraints.txt", "benchmarks/*.py", "benchmarks/*.txt", "benchmarks/contenders")
    changed = _git("status", "--porcelain", "--", *measured)
    return f"{head}+changes" if changed else head


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def machine() -> str:
    """Processor, cores, memory, system, Python and allocator; no names."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = models[0] if models else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GiB, {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, {allocator.name()}"
    )
