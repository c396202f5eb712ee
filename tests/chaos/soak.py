"""`make soak`: every recipe in each guarantee, and the mutations, with each seed and for as long as it was told.

A run that failed says the one command that plays it again: the same events, the same victims behind as many of them.
"""

from __future__ import annotations

import logging
import shlex
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Annotated

import cyclopts
from rich.console import Console
from rich.table import Table

from tests.chaos.mutations import MUTATIONS
from tests.chaos.recipes.all import RECIPES
from tests.chaos.trial import run

app = cyclopts.App(name="python -m tests.chaos.soak", help=__doc__)

_STRIDE = 1_000  # from a seed to those derived from it


@dataclass(frozen=True, slots=True)
class Job:
    """One run of the soak."""

    name: str
    guarantee: str
    seed: int
    work: Callable[[Path], list[str]]
    expects: str = ""

    @property
    def again(self) -> str:
        """The command that plays it again."""
        return (
            f".venv/bin/python -m tests.chaos.soak --only {shlex.quote(self.name)} --guarantee {self.guarantee} "
            f"--seeds {self.seed}"
        )

    @contextmanager
    def told_again(self) -> Iterator[None]:
        """Whatever fails in here says how it is played again."""
        try:
            yield
        except BaseException as failure:
            failure.add_note(f"again: {self.again}")
            raise


@dataclass(frozen=True, slots=True)
class Ended:
    """A job, how long it took, and what was found."""

    job: Job
    seconds: float
    findings: list[str]


@app.default
def soak(
    *,
    seeds: Annotated[list[int], cyclopts.Parameter(consume_multiple=True)] = [1],  # noqa: B006 - cyclopts reads it only
    minutes: float = 0.0,
    only: Annotated[list[str] | None, cyclopts.Parameter(consume_multiple=True)] = None,
    guarantee: str | None = None,
    keep: Path | None = None,
) -> int:
    """Run the recipes. Exit code 1 when anything was found.

    Args:
        seeds: each gives other events, other victims, other moments.
        minutes: of each seed; where all recipes take less, they are run again with seeds derived from it.
        only: names of recipes and mutations, whole or in part.
        guarantee: exactly_once or at_least_once; both where it is not given.
        keep: a directory for logs and data; those of runs with findings stay there. The system's own for what is
            temporary where it is not given.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # brokers that are away are what this is about
    console = Console()

    def of_a_seed(seed: int) -> list[Job]:
        return jobs(seed, only, guarantee)

    ended = [one for seed in seeds for one in play(of_a_seed, seed, minutes * 60, console, keep)]
    console.print(_table(ended))
    failed = [one for one in ended if one.findings]
    for one in failed:
        console.print(f"again: {one.job.again}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{len(ended)} runs, {len(failed)} with findings", highlight=False)
    return 1 if failed or not ended else 0


def jobs(seed: int, only: Sequence[str] | None, guarantee: str | None) -> list[Job]:
    """What is run with a seed. A name that is one whole is that one only."""
    found = [
        Job(recipe.name, one, seed, partial(run, recipe, seed, one), str(promise))
        for recipe in RECIPES
        for one, promise in recipe.expects.items()
    ]
    found += [Job(one.name, one.guarantee, seed, partial(one.complaints, seed), one.expects) for one in MUTATIONS]
    names = {job.name for job in found}
    return [
        job
        for job in found
        if guarantee in (None, job.guarantee)
        and (only is None or any(job.name == part or (part not in names and part in job.name) for part in only))
    ]


def play(
    jobs_of: Callable[[int], list[Job]], seed: int, at_least_s: float, console: Console, keep: Path | None
) -> Iterator[Ended]:
    """All jobs of a seed; then of those derived from it, one by one, until the time is over."""
    began = monotonic()
    for turn in count():
        doing = jobs_of(seed + turn * _STRIDE)
        for number, job in enumerate(doing, 1):
            if turn and monotonic() - began >= at_least_s:
                return
            said = f"[{number} of {len(doing)}] {job.name}, {job.guarantee}, seed {job.seed}: "
            console.print(said, end="", markup=False, highlight=False)
            since = monotonic()
            findings, left = _run(job, keep)
            took = monotonic() - since
            console.print(f"{'ok' if not findings else f'{len(findings)} findings'} in {took:.0f} s", highlight=False)
            if findings:
                for line in (*findings[:5], f"logs: {left}", f"again: {job.again}"):
                    console.print(line, markup=False, highlight=False, soft_wrap=True)
            yield Ended(job, took, findings)
        if not doing or monotonic() - began >= at_least_s:
            return


def _table(ended: Sequence[Ended]) -> Table:
    table = Table("what", "guarantee", "seed", "seconds", "what held, or what was found", title="Soak")
    for one in ended:
        job, found = one.job, "\n".join(one.findings[:5]) or one.job.expects
        table.add_row(job.name, job.guarantee, str(job.seed), f"{one.seconds:.0f}", found)
    return table


def _run(job: Job, keep: Path | None) -> tuple[list[str], Path]:
    """Its findings, and where its logs and data are; there is nothing any more where it found nothing."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="replayer-soak-", dir=keep))
    try:
        findings = job.work(directory)
    except Exception as failure:  # noqa: BLE001 - whatever went wrong is a finding, and the others go on
        traceback.print_exc()
        findings = [f"{type(failure).__name__}: {str(failure).partition(chr(10))[0][:300]}"]
    if not findings:
        shutil.rmtree(directory, ignore_errors=True)
    return findings, directory


if __name__ == "__main__":
    sys.exit(app())
