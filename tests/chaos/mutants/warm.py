"""The product as it is, but for a file that says how far copies are, and what is left to read of those that are used.

A worker's metrics count what it reads back for all partitions together: new copies it has to make, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replayer.cli import main
from replayer.engine.assignment import Assignment
from replayer.engine.recovery import Changelogs
from replayer.flows.tables import TIMELINES
from tests.chaos.mutants.counted import VARIABLE


@dataclass(frozen=True, slots=True)
class Warmth:
    """`used`: it was made the owner of the partition just then; else it keeps a copy. `next`: the first offset of the
    changelog it has not stored.
    """

    used: bool
    instance: str
    partition: int
    next: int


def told(path: Path) -> list[Warmth]:
    """All that was said so far, by every process."""
    lines = path.read_text().splitlines() if path.exists() else []
    words = (line.split() for line in lines)
    return [Warmth(kind == "used", instance, int(number), int(offset)) for kind, instance, number, offset in words]


def tell(kind: str, engine: Any, tps: Iterable[Any]) -> None:
    store, changelog = engine.store(TIMELINES), engine.changelog(TIMELINES)
    lines = [
        f"{kind} {engine.config.instance_id} {tp.partition} {store.applied(tp.partition) + 1}\n"
        for tp in tps
        if tp.topic == changelog
    ]
    with Path(os.environ[VARIABLE]).open("a") as log:
        log.write("".join(lines))


_look_at_state, _look = Assignment._look_at_state, Changelogs.look


async def look_at_state(self: Assignment) -> None:
    await _look_at_state(self)
    tell("used", self._engine, self._engine.actives())


def look(self: Changelogs) -> None:
    _look(self)
    tell("copy", self._engine, self._recovery.standby_tps)


if __name__ == "__main__":
    Assignment._look_at_state = look_at_state  # type: ignore[method-assign] # the addition
    Changelogs.look = look  # type: ignore[method-assign] # the addition
    sys.exit(main())
