"""`python -m benchmarks.run`: everything, or one part of it. Results go to benchmarks/results.json and RESULTS.md."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import cyclopts
import uvloop

from benchmarks import report
from benchmarks.hot import hot
from benchmarks.index import index
from benchmarks.latency import latency
from benchmarks.materialise import CONTENDERS, Plan, materialise
from benchmarks.memory import memory
from benchmarks.profile_worker import profile
from benchmarks.progress import Progress
from benchmarks.recovery import recovery
from benchmarks.results import RESULTS, Results
from benchmarks.scaling import scaling
from benchmarks.workload import SIZES
from replayer.core.sizes import Size

app = cyclopts.App(name="python -m benchmarks.run", help=__doc__)


Work = Callable[[Results, Progress], Coroutine[Any, Any, None]]


def _perform(out: Path, work: Work) -> None:
    results = Results(f"python -m benchmarks.run {shlex.join(sys.argv[1:])}".strip(), out)
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # a topic just made is refused and retried a few times
    uvloop.run(work(results, Progress()))
    report.write(out, out.with_name("RESULTS.md"))


@app.command(name="materialise")
def materialise_command(
    *,
    events: int = 1_500_000,
    seconds: float = 10.0,
    rounds: int = 3,
    sizes: tuple[Size, ...] = SIZES,
    contenders: tuple[str, ...] = tuple(contender.name for contender in CONTENDERS),
    out: Path = RESULTS,
) -> None:
    """Durable materialisation against plain Faust, Quix Streams, Kafka Streams (where there is a JDK) and the limit.

    Args:
        events: in the log of each size.
        seconds: measured of each contender in each round, behind its warm-up.
        rounds: of everybody, in alternating order; the median counts.
        sizes: 1KB, 200B or both.
        contenders: by name; ratios are recorded where both sides took part.
        out: where the figures are merged into; RESULTS.md is made beside it.
    """
    plan = Plan(sizes, events, seconds, rounds, contenders)

    def work(results: Results, progress: Progress) -> Coroutine[Any, Any, None]:
        return materialise(plan, results, progress)

    _perform(out, work)


@app.command(name="latency")
def latency_command(
    *,
    rate: int = 2000,
    seconds: float = 60.0,
    guarantees: tuple[str, ...] = ("exactly_once", "at_least_once"),
    out: Path = RESULTS,
) -> None:
    """Event to queryable, through a real worker process.

    Args:
        rate: events a second.
        seconds: measured, behind a warm-up of ten.
        guarantees: exactly_once, at_least_once or both.
        out: where the figures are merged into.
    """
    _perform(out, lambda results, progress: latency(rate, seconds, guarantees, results, progress))


@app.command(name="memory")
def memory_command(*, events: int = 14_000_000, size: Size = "1KB", out: Path = RESULTS) -> None:
    """Resident memory of a worker, and its slope. About eight minutes.

    Args:
        events: folded in all; the line begins behind a fifth of them.
        size: of the events, 1KB or 200B.
        out: where the figures are merged into.
    """
    _perform(out, lambda results, progress: memory(events, size, results, progress))


@app.command(name="recovery")
def recovery_command(
    *,
    rows: tuple[int, ...] = (100_000, 1_000_000, 10_000_000),
    size: Size = "1KB",
    rounds: int = 3,
    faust: bool = True,
    out: Path = RESULTS,
) -> None:
    """Recovery from an empty data directory, against plain Faust's of the same rows. About ten minutes for 10^7 rows.

    Args:
        rows: changelog rows, about; one changelog grows from one to the next.
        size: of the events the rows are made of, 1KB or 200B.
        rounds: recoveries of each up to 10^6 rows, whose median counts; one of more.
        faust: whether plain Faust recovers the fewest rows too.
        out: where the figures are merged into.
    """
    _perform(out, lambda results, progress: recovery(rows, size, rounds, faust, results, progress))


@app.command(name="scaling")
def scaling_command(
    *, events: int = 2_500_000, size: Size = "1KB", seconds: float = 10.0, rounds: int = 3, out: Path = RESULTS
) -> None:
    """Two workers against one.

    Args:
        events: in the log.
        size: of the events, 1KB or 200B.
        seconds: measured in each run, behind a warm-up of eight.
        rounds: of both, in alternating order; the median counts.
        out: where the figures are merged into.
    """
    _perform(out, lambda results, progress: scaling(events, size, seconds, rounds, results, progress))


@app.command(name="hot")
def hot_command(*, events: int = 1_000_000, size: Size = "1KB", out: Path = RESULTS) -> None:
    """One workflow with all the events: the cost of each as they grow many, and of a page.

    Args:
        events: of the workflow.
        size: of the events, 1KB or 200B.
        out: where the figures are merged into.
    """
    _perform(out, lambda results, progress: hot(events, size, results, progress))


@app.command(name="index")
def index_command(
    *, events: int = 1_000_000, uses: int = 1_000_000, size: Size = "1KB", rounds: int = 3, out: Path = RESULTS
) -> None:
    """What the index costs a worker that catches up, and what a page of a template's decisions takes.

    Args:
        events: in the log that is folded with the index on and off.
        uses: of the template version whose pages are asked for, each by a decision of its own.
        size: of the events; 1KB: those of 200 bytes use no template.
        rounds: of both, in alternating order; the median counts.
        out: where the figures are merged into.
    """
    _perform(out, lambda results, progress: index(events, uses, size, rounds, results, progress))


@app.command(name="profile")
def profile_command(*, events: int = 3_000_000, size: Size = "1KB", seconds: float = 15.0, out: Path = RESULTS) -> None:
    """Where an event's processor time goes in a running worker.

    Args:
        events: in the log; the worker must not reach its end.
        size: of the events, 1KB or 200B.
        seconds: looked at, behind a warm-up of five.
        out: where the figures are merged into.
    """
    _perform(out, lambda results, progress: profile(events, size, seconds, results, progress))


@app.default
def everything() -> None:
    """All of it, one after the other, as `make bench` does: about an hour and a half on 2 cores."""
    materialise_command()
    recovery_command()
    latency_command()
    memory_command()
    scaling_command()
    hot_command()
    index_command()
    profile_command()


if __name__ == "__main__":
    app()
