"""Every recipe there is."""

from __future__ import annotations

from tests.chaos.recipes import brokers, disks, logs, processes, records
from tests.chaos.trial import Recipe

IN_EVERY_TEST_RUN: tuple[Recipe, ...] = (
    processes.KILL_9,
    processes.FREEZE,
    brokers.RESTART,
    disks.FULL,
    records.POISON,
)
RECIPES: tuple[Recipe, ...] = (
    *IN_EVERY_TEST_RUN,
    processes.KILL_ON,
    processes.ROLL,
    processes.SCALE,
    processes.PROMOTE,
    brokers.AWAY,
    disks.DAMAGE,
    records.DISORDER,
    logs.TRANSACTIONS,
    logs.EXPIRE,
    logs.MISROUTE,
    logs.OUTDATE,
    logs.COMPACT,
    logs.NO_LETTERS,
    logs.RECREATE,
    logs.ADD,
    logs.OUTLIVE,
)
