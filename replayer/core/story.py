"""A workflow being told: a clock that moves on, events with ids and causes, and the artefacts they refer to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar

from replayer.core.artefacts import JSON, TEXT, Artefact, artefact
from topics.classification import Classification
from topics.events import EventModel, event
from topics.fields import EPOCH, ArtifactRef, Model

T = TypeVar("T")
Kept = tuple[ArtifactRef, tuple[Artefact, ...]]


class Dice(Protocol):
    """Chance, handed in: a seeded `random.Random` is one."""

    def random(self) -> float: ...
    def randrange(self, start: int, /) -> int: ...
    def getrandbits(self, k: int, /) -> int: ...
    def choice(self, seq: Sequence[T], /) -> T: ...
    def expovariate(self, lambd: float, /) -> float: ...
    def lognormvariate(self, mu: float, sigma: float, /) -> float: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose workflow it is: what all its events share."""

    workflow_id: str
    tenant_id: str
    correlation_id: str
    subject_id: str
    agent_id: str


@dataclass(frozen=True, slots=True)
class Happening:
    """One event and the artefacts it refers to."""

    event: EventModel
    artefacts: tuple[Artefact, ...]


class Story:
    """Collects happenings. `at_us`, microseconds since the epoch, is where its clock stands."""

    def __init__(self, dice: Dice, identity: Identity, start_us: int) -> None:
        self.dice = dice
        self.identity = identity
        self.at_us = start_us
        self.decision_id: str | None = None
        self.happenings: list[Happening] = []
        self._trace_id = f"{dice.getrandbits(128) | 1:032x}"

    def happen(
        self,
        data: Model,
        source: str,
        after_ms: int,
        artefacts: tuple[Artefact, ...] = (),
        *,
        parent: str | None,
        at_us: int | None = None,
    ) -> str:
        """One more event, `after_ms` after the one before, or at a time of its own, the clock untouched. Its id."""
        if at_us is None:
            self.at_us += after_ms * 1000 + self.dice.randrange(1000)
            at_us = self.at_us
        made = event(
            data,
            event_id=f"{self.identity.workflow_id}-e{len(self.happenings) + 1:02d}",
            workflow_id=self.identity.workflow_id,
            occurred_at=EPOCH + timedelta(microseconds=at_us),
            tenant_id=self.identity.tenant_id,
            source=source,
            agent_id=self.identity.agent_id,
            decision_id=self.decision_id,
            parent_event_id=parent,
            correlation_id=self.identity.correlation_id,
            trace_id=self._trace_id,
            span_id=f"{self.dice.getrandbits(64) | 1:016x}",
            subject_id=self.identity.subject_id,
        )
        self.happenings.append(Happening(made, artefacts))
        return made.event_id

    def latency(self, median_ms: float, spread: float) -> int:
        """Milliseconds, at least 1, log-normal around the median."""
        return max(1, int(median_ms * self.dice.lognormvariate(0.0, spread)))

    def text(self, content: str, classification: Classification = Classification.RESTRICTED) -> Kept:
        """The reference an event carries, and what `happen` takes."""
        return self._keep(content, TEXT, classification)

    def json(self, content: str, classification: Classification = Classification.RESTRICTED) -> Kept:
        """As `text`."""
        return self._keep(content, JSON, classification)

    def _keep(self, content: str, media_type: str, classification: Classification) -> Kept:
        kept = artefact(content.encode(), media_type, classification)
        return kept.ref, (kept,)
