"""What the demo tells: its workload, and which of its workflows are worth looking at. Pure but for the seed."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from replayer.core.faults import Emission, Faults, disturbed
from replayer.core.simulation import Scenario, cases
from topics.events import EventModel

SEED = 7
START_US = 1_767_603_600_000_000  # 2026-01-05T09:00:00Z
FAULTS = Faults(duplicates=0.02, disorder=0.03, poison=0.002)

#: What makes a workflow worth reading, and how much.
_INTERESTING = {
    "workflow.human_override": 5,
    "tool.call_failed": 3,
    "retrieval.performed": 1,
    "feedback.received": 2,
    "workflow.completed": 2,
}
_LONGEST = 34


@dataclass(frozen=True, slots=True)
class Workload:
    """What is published, and what must be seen afterwards. `events`: distinct ones."""

    emissions: Sequence[Emission]
    events: int
    workflows: int
    poison: int
    shown: tuple[str, str]
    overridden: tuple[tuple[str, str], ...]


def workload(workflows: int) -> Workload:
    """The same one every time. `shown` and `overridden` are (tenant, workflow id)."""
    happenings = list(cases(random.Random(SEED), Scenario("demo", START_US, workflows)))
    emissions = list(disturbed(happenings, random.Random(SEED + 1), FAULTS))
    events: dict[tuple[str, str], list[EventModel]] = defaultdict(list)
    for happening in happenings:
        events[(happening.event.tenant_id, happening.event.workflow_id)].append(happening.event)
    return Workload(
        emissions,
        events=len(happenings),
        workflows=len(events),
        poison=sum(emission.kind == "poison" for emission in emissions),
        shown=max(events, key=lambda workflow: _worth(events[workflow])),
        overridden=_overridden(events),
    )


def _worth(events: Sequence[EventModel]) -> int:
    types = Counter(event.event_type for event in events)
    verdicts = {event.data.outcome for event in events if event.event_type == "policy.evaluated"}  # type: ignore[attr-defined] # by its type
    worth = sum(value for name, value in _INTERESTING.items() if types[name]) + 2 * len(verdicts)
    return worth if len(events) <= _LONGEST else worth - len(events)


def _overridden(events: dict[tuple[str, str], list[EventModel]]) -> tuple[tuple[str, str], ...]:
    """Up to five workflows of one tenant in which a person stepped in: what the demo investigates."""
    found = [who for who, told in events.items() if any(e.event_type == "workflow.human_override" for e in told)]
    tenant = Counter(tenant for tenant, _ in found).most_common(1)[0][0]
    return tuple(who for who in found if who[0] == tenant)[:5]
