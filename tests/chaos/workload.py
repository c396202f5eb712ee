"""What is produced in a chaos run: the simulator's cases with faults among them, from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice

from replayer.core.faults import Emission, Faults, disturbed
from replayer.core.simulation import Scenario, cases
from replayer.core.story import Happening

_START_US = 1_767_225_600_000_000  # 2026-01-01
#: That many must have been acked, whatever became of the others.
EVENTS = 20_000
ORDINARY = Faults(duplicates=0.03, conflicts=0.005, disorder=0.05, poison=0.001)


@dataclass(frozen=True, slots=True)
class Workload:
    """`events` records; the same seed gives the same ones. `spread`: clocks go wrong by up to so much, either way."""

    seed: int
    events: int = EVENTS + 200
    faults: Faults = field(default=ORDINARY)
    spread: timedelta = timedelta(0)

    def emissions(self) -> Iterator[Emission]:
        """In the order of sending."""
        told = cases(random.Random(self.seed), Scenario(f"c{self.seed}", _START_US, workflows=None))
        return islice(disturbed(self._skewed(told), random.Random(self.seed + 1), self.faults), self.events)

    def _skewed(self, happenings: Iterator[Happening]) -> Iterator[Happening]:
        dice = random.Random(self.seed + 2)
        for happening in happenings:
            if self.spread:
                event = happening.event
                moment = event.occurred_at + self.spread * dice.uniform(-1, 1)
                yield Happening(event.model_copy(update={"occurred_at": moment}), happening.artefacts)
            else:
                yield happening
