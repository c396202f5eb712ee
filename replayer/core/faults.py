"""What goes wrong between a producer and a log, for a clean workload: repeats, contradictions, disorder, poison."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from replayer.core.artefacts import Artefact
from replayer.core.story import Dice, Happening
from topics.events import EventModel, topic_of, wire

Kind = Literal["event", "late", "skewed", "duplicate", "conflict", "poison"]


@dataclass(frozen=True, slots=True)
class Emission:
    """One record to publish.

    `kind`: every event id comes exactly once as `event`, `late` (held back) or `skewed` (its producer's clock was
    wrong); `duplicate` repeats its bytes, `conflict` its id with another content; `poison` is no event and has no ids.
    """

    topic: str
    key: bytes
    value: bytes | None
    kind: Kind
    event_id: str | None
    event_type: str | None
    workflow_id: str | None
    tenant_id: str | None
    artefacts: tuple[Artefact, ...] = ()


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares of events (0 to 1) that meet each fault; poison comes on top of them.

    `duplicates`: sent again, later. `conflicts`: sent again with the same id and another content. `disorder`: held
    back, among the next `reach` records. `skew`: dated 90 seconds too early, and so often before their cause.
    `poison`: bytes that are no event, or no bytes.
    """

    duplicates: float = 0.0
    conflicts: float = 0.0
    disorder: float = 0.0
    skew: float = 0.0
    poison: float = 0.0
    reach: int = 200

    def __post_init__(self) -> None:
        for name in ("duplicates", "conflicts", "disorder", "skew", "poison"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a share of the events: between 0 and 1")
        if self.reach < 1:
            raise ValueError("reach is a number of records: at least 1")


NONE = Faults()
SKEW = timedelta(seconds=90)


def disturbed(happenings: Iterable[Happening], dice: Dice, faults: Faults = NONE) -> Iterator[Emission]:
    """The happenings as records, with the faults among them. Holds at most about twice `reach` records back."""
    held: list[tuple[int, int, Emission]] = []
    queued = 0
    for position, happening in enumerate(happenings):
        for delay, emission in _fates(happening, dice, faults):
            queued += 1  # breaks ties in the order of sending
            heapq.heappush(held, (position + delay, queued, emission))
        while held and held[0][0] <= position:
            yield heapq.heappop(held)[2]
    while held:
        yield heapq.heappop(held)[2]


def _fates(happening: Happening, dice: Dice, faults: Faults) -> Iterator[tuple[int, Emission]]:
    """What becomes of one event: records, each with how many events later it is sent."""
    event, delay = happening.event, 0
    kind: Kind = "event"
    if dice.random() < faults.skew:
        event, kind = event.model_copy(update={"occurred_at": event.occurred_at - SKEW}), "skewed"
    elif dice.random() < faults.disorder:
        kind, delay = "late", 1 + dice.randrange(faults.reach)
    sent = _emission(event, kind, happening.artefacts)
    yield delay, sent
    if dice.random() < faults.duplicates:
        yield delay + 1 + dice.randrange(faults.reach), _again(sent)
    if dice.random() < faults.conflicts:
        other = event.model_copy(update={"source": f"{event.source}-retry"})
        yield delay + 1 + dice.randrange(faults.reach), _emission(other, "conflict", ())
    if dice.random() < faults.poison:
        yield (
            0,
            Emission(sent.topic, sent.key, dice.choice(POISONS)(sent.value or b""), "poison", None, None, None, None),
        )


def _emission(event: EventModel, kind: Kind, artefacts: tuple[Artefact, ...]) -> Emission:
    return Emission(
        topic_of(event.event_type),
        event.workflow_id.encode(),
        wire(event),
        kind,
        event.event_id,
        event.event_type,
        event.workflow_id,
        event.tenant_id,
        artefacts,
    )


def _again(sent: Emission) -> Emission:
    return Emission(
        sent.topic, sent.key, sent.value, "duplicate", sent.event_id, sent.event_type, sent.workflow_id, sent.tenant_id
    )


def _without(field: bytes) -> Callable[[bytes], bytes]:
    return lambda value: value.replace(b'"%s":' % field, b'"no_%s":' % field, 1)


#: Each makes of an event's bytes something that is none, in a way of its own.
POISONS: tuple[Callable[[bytes], bytes | None], ...] = (
    lambda value: None,
    lambda value: b"",
    lambda value: b"\xff\xfe" + value,
    lambda value: value[: len(value) // 2],
    lambda value: b"[" * 100_000,
    lambda value: value[:-1] + b',"deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    lambda value: value[:-1] + b',"number":' + b"9" * 10_000 + b"}",
    lambda value: value[:-1] + b',"number":NaN}',
    lambda value: b"[" + value + b"]",
    lambda value: b'"' + bytes(64) + b'"',
    _without(b"event_id"),
    _without(b"workflow_id"),
    _without(b"data"),
    lambda value: value.replace(b'"schema_version":1', b'"schema_version":"one"', 1),
    lambda value: value.replace(b'"occurred_at":"', b'"occurred_at":"yesterday ', 1),
    lambda value: value.replace(b'"tenant_id":"', b'"tenant_id":"\\u0000', 1),
)
