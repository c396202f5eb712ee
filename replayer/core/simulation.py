"""A deterministic, lifelike workload: cases of support agents in several tenants, side by side, as records to publish.

>>> happenings = cases(random.Random(7), Scenario(run="demo", start_us=0, workflows=20))
>>> for emission in disturbed(happenings, random.Random(8), Faults(duplicates=0.02)):
...     publish(emission.topic, emission.key, emission.value)

The same dice and scenario give the same records; faults have dice of their own, so that they change no event's content.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from replayer.core.story import Dice, Happening, Identity
from replayer.core.support_agent import V1, V2, Case, case
from topics.fields import micros

TENANTS = ("acme", "globex", "initech")


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is simulated.

    `run` begins every workflow id: two scenarios that share it and differ otherwise contradict each other on purpose.
    `start_us` in microseconds since the epoch; `workflows` None: without end; `every_s`: seconds between two cases, on
    average, in simulated time.
    """

    run: str
    start_us: int
    workflows: int | None
    tenants: tuple[str, ...] = TENANTS
    every_s: float = 6.0


def cases(dice: Dice, scenario: Scenario) -> Iterator[Happening]:
    """All events of all cases, merged in the order of their clock."""
    waiting: list[tuple[int, int, Happening]] = []
    told = 0
    for about in _openings(dice, scenario):
        while waiting and waiting[0][0] <= about.start_us:
            yield heapq.heappop(waiting)[2]
        for happening in case(dice, about):
            told += 1  # breaks ties, so that the heap never compares happenings
            at_us = micros(happening.event.occurred_at)
            heapq.heappush(waiting, (at_us, told, happening))
    while waiting:
        yield heapq.heappop(waiting)[2]


def _openings(dice: Dice, scenario: Scenario) -> Iterator[Case]:
    """One case after the other; about one in five takes up the thread of an earlier one of its tenant."""
    threads: dict[str, list[tuple[str, str]]] = {tenant: [] for tenant in scenario.tenants}
    at_us, number = scenario.start_us, 0
    while scenario.workflows is None or number < scenario.workflows:
        number += 1
        tenant = dice.choice(scenario.tenants)
        known = threads[tenant]
        if known and dice.random() < 0.2:
            thread, customer = dice.choice(known)
        else:
            thread, customer = f"{scenario.run}-thread-{number:05d}", f"customer-{dice.randrange(2000):04d}"
            known.append((thread, customer))
            del known[:-50]
        yield Case(
            Identity(f"{scenario.run}-{number:05d}", tenant, thread, customer, agent_id="support"),
            at_us,
            V2 if dice.random() < 0.5 else V1,
        )
        at_us += int(dice.expovariate(1 / scenario.every_s) * 1e6)
