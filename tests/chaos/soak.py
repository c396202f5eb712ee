"""`make soak`: every recipe in each guarantee it promises something in, and the mutations, for each seed.

A run that failed is played again by its name and seed: `python -m tests.chaos.soak --only "kill -9" --seeds 7`.
"""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import cyclopts
from rich.console import Console
from rich.table import Table

from tests.chaos.mutations import MUTATIONS
from tests.chaos.recipes.all import RECIPES
from tests.chaos.trial import run

app = cyclopts.App(name="python -m tests.chaos.soak", help=__doc__)


@app.default
def soak(
    *,
    seeds: Annotated[list[int], cyclopts.Parameter(consume_multiple=True)] = [1],  # noqa: B006 - cyclopts reads it only
    only: Annotated[list[str] | None, cyclopts.Parameter(consume_multiple=True)] = None,
    guarantee: str | None = None,
    keep: Path | None = None,
) -> int:
    """Run the recipes.

    Args:
        seeds: each gives other events, other victims, other moments.
        only: names of recipes and mutations, in part.
        guarantee: exactly_once or at_least_once; both where it is not given.
        keep: a directory in which everything of each run stays, logs and data.
    """
    console, jobs = Console(), _jobs(seeds, only, guarantee)
    table = Table("what", "guarantee", "seed", "seconds", "findings", title="Soak")
    failed = False
    for number, job in enumerate(jobs, 1):
        said = f"[{number} of {len(jobs)}] {job.name}, {job.guarantee}, seed {job.seed} … "
        console.print(said, end="", markup=False, highlight=False)
        began = time.monotonic()
        findings = _run(job, keep)
        took = f"{time.monotonic() - began:.0f}"
        console.print(f"{'ok' if not findings else f'{len(findings)} findings'} in {took} s")
        table.add_row(job.name, job.guarantee, str(job.seed), took, "\n".join(findings[:5]) or "none")
        failed = failed or bool(findings)
    console.print(table)
    return 1 if failed else 0


@dataclass(frozen=True, slots=True)
class Job:
    """One run of the soak."""

    name: str
    guarantee: str
    seed: int
    work: Callable[[Path], list[str]]


def _jobs(seeds: Sequence[int], only: Sequence[str] | None, guarantee: str | None) -> list[Job]:
    jobs = []
    for seed in seeds:
        for recipe in RECIPES:
            jobs += [Job(recipe.name, one, seed, partial(run, recipe, seed, one)) for one in recipe.expects]
        jobs += [Job(one.name, "exactly_once", seed, partial(one.complaints, seed)) for one in MUTATIONS]
    return [
        job
        for job in jobs
        if guarantee in (None, job.guarantee) and (only is None or any(part in job.name for part in only))
    ]


@contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield Path(tempfile.mkdtemp(prefix="run-", dir=keep))
        return
    with tempfile.TemporaryDirectory(prefix="replayer-soak-") as directory:
        yield Path(directory)


def _run(job: Job, keep: Path | None) -> list[str]:
    with _directory(keep) as directory:
        try:
            return job.work(directory)
        except Exception as failure:  # noqa: BLE001 - whatever went wrong is a finding, and the others go on
            traceback.print_exc()
            return [f"{type(failure).__name__}: {str(failure).partition(chr(10))[0][:300]}"]


if __name__ == "__main__":
    sys.exit(app())
