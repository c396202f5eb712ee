"""`python -m benchmarks.check`, `make bench-check`: a small run whose ratios must not be a third below those recorded.

Seven contenders once, and one recovery: six minutes on 2 cores. A figure that fails is measured once more, for one
short run beside something else on the machine may lose a third; it must fail twice. Nothing is recorded.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cyclopts
import uvloop

from benchmarks.contenders.kafka_streams import jdk
from benchmarks.guard import compared, table
from benchmarks.materialise import RATIOS, Plan, materialise
from benchmarks.progress import Progress
from benchmarks.recovery import recovery
from benchmarks.results import RESULTS, Results, load

_RECOVERY = "recovery.vs_faust"
_STREAMS = ("materialise.vs_kafka_streams_eos", "materialise.vs_kafka_streams_alos")
CHECKED = ("materialise.vs_faust", "materialise.vs_quix", "materialise.share_of_limit", _RECOVERY, *_STREAMS)
"""Ratios that are cheap to measure, and that a slower product would show in."""


def guarded(recorded: Path, now: Path, names: Sequence[str]) -> int:
    """Print the table; 1 where a figure failed, else 0."""
    verdicts = compared(load(recorded), load(now), names)
    print(table(verdicts))
    return 1 if any(verdict.failed for verdict in verdicts) else 0


async def measure(names: Sequence[str], events: int, seconds: float, rows: int, out: Path, progress: Progress) -> None:
    """Measure `names` into `out`."""
    results = Results("python -m benchmarks.check", out)
    contenders = dict.fromkeys(one for name, *both in RATIOS if name in names for one in both)
    if contenders:
        await materialise(Plan(("1KB",), events, seconds, 1, tuple(contenders)), results, progress)
    if _RECOVERY in names:
        await recovery([rows], "1KB", 3, True, results, progress)


def main(
    *, events: int = 800_000, seconds: float = 4.0, rows: int = 100_000, recorded: Path = RESULTS, twice: bool = True
) -> int:
    """Measure, compare, and end with 1 where a ratio has dropped by a third or more.

    Args:
        events: in the log of the contenders.
        seconds: measured of each of them, behind its warm-up.
        rows: of the recovery.
        recorded: what to compare with.
        twice: whether what fails is measured once more.
    """
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # a topic just made is refused and retried a few times
    names, progress = list(CHECKED), Progress()
    if jdk() is None:
        progress.say("Kafka Streams is left out: there is no JDK here (javac on the PATH)")
        names = [name for name in names if name not in _STREAMS]
    with tempfile.TemporaryDirectory(prefix="bench-check-") as directory:
        now = Path(directory) / "now.json"
        uvloop.run(measure(names, events, seconds, rows, now, progress))
        failed = [verdict.name for verdict in compared(load(recorded), load(now), names) if verdict.failed]
        if failed and twice:
            progress.say(f"once more: {', '.join(failed)}")
            uvloop.run(measure(failed, events, seconds, rows, now, progress))
        return guarded(recorded, now, names)


if __name__ == "__main__":
    sys.exit(cyclopts.run(main))
