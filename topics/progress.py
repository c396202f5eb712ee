"""How a replay fares: `replay-progress`, keyed by replay_id, written in the transactions that move the replay on."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator

from topics import deadletter
from topics.bounds import Limits
from topics.classification import INTERNAL, PUBLIC
from topics.codec import Undecodable
from topics.commands import Partition, ReplayId, TopicName
from topics.document import decode_document, encode_document
from topics.fields import Count, Instant, Model, Sha256, Version

PROGRESS_VERSION: Final = 1
MAX_GAPS: Final = 32
MAX_PARTITIONS: Final = 10_000
PROGRESS_LIMITS: Final = Limits(max_record_bytes=768 * 1024, max_depth=16)

Sentence = Annotated[str, Field(min_length=1, max_length=1_000)]


class State(StrEnum):
    """A replay's life. The last three are final."""

    PLANNED = "PLANNED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def final(self) -> bool:
        return self in (State.COMPLETED, State.FAILED, State.CANCELLED)


class Gap(Model):
    """Offsets [start, end) that were asked for and are not in the log: it starts above them, or does not reach them."""

    start: Annotated[Count, INTERNAL]
    end: Annotated[Count, INTERNAL]
    reason: Annotated[Literal["expired", "not_written"], PUBLIC]


class PartitionCoverage(Model):
    """One partition's share: [start, end) was asked for, [start, position) is done.

    `head`: whether something before `start` that the request meant has expired: `truncated_head` it has; `unknown`
    the log begins exactly where the range does, so records of that time may have expired.
    """

    topic: Annotated[TopicName, INTERNAL]
    partition: Annotated[Partition, INTERNAL]
    start: Annotated[Count, INTERNAL]
    end: Annotated[Count, INTERNAL]
    position: Annotated[Count, INTERNAL]
    read: Annotated[Count, INTERNAL, Field(description="records read; offsets also hold transaction markers")] = 0
    matched: Annotated[Count, INTERNAL] = 0
    undecodable: Annotated[Count, INTERNAL, Field(description="records in question that are no events")] = 0
    head: Annotated[Literal["complete", "truncated_head", "unknown"], PUBLIC] = "complete"
    gaps: Annotated[tuple[Gap, ...], INTERNAL, Field(max_length=MAX_GAPS)] = ()


class Coverage(Model):
    """Asked for against found. `complete`: everything the request meant was in the log and was an event."""

    complete: Annotated[bool, PUBLIC]
    partitions: Annotated[tuple[PartitionCoverage, ...], INTERNAL, Field(max_length=MAX_PARTITIONS)] = ()


class ResultsLocation(Model):
    """Where the results are: offsets [first_offset, end_offset) of one partition, among those of other replays."""

    topic: Annotated[TopicName, INTERNAL]
    partition: Annotated[Partition, INTERNAL]
    first_offset: Annotated[Count, INTERNAL]
    end_offset: Annotated[Count, INTERNAL]


class ReplayProgress(Model):
    """Where a replay stands. `version` grows with every one of its transactions; the highest says what holds."""

    schema_version: Annotated[Version, PUBLIC] = PROGRESS_VERSION
    replay_id: Annotated[ReplayId, INTERNAL]
    version: Annotated[Count, INTERNAL, Field(ge=1)]
    state: Annotated[State, PUBLIC]
    read: Annotated[Count, INTERNAL] = 0
    matched: Annotated[Count, INTERNAL] = 0
    undecodable: Annotated[Count, INTERNAL] = 0
    total: Annotated[Count, INTERNAL, Field(description="offsets in all ranges: never fewer than records")] = 0
    digest: Annotated[Sha256 | None, INTERNAL, Field(description="of the results so far, in any order")] = None
    coverage: Annotated[Coverage | None, INTERNAL, Field(description="absent until the ranges are known")] = None
    results: Annotated[ResultsLocation | None, INTERNAL] = None
    error: Annotated[Sentence | None, INTERNAL] = None
    started_at: Annotated[Instant, INTERNAL]
    updated_at: Annotated[Instant, INTERNAL]
    ended_at: Annotated[Instant | None, INTERNAL] = None

    @field_validator("state")
    @classmethod
    def _under_way(cls, state: State) -> State:
        if state is State.PLANNED:
            raise ValueError("a replay that is only planned has made no progress")
        return state


def encode_progress(progress: ReplayProgress) -> bytes:
    """The progress as a record's value."""
    return encode_document(progress)


def decode_progress(raw: bytes | None) -> ReplayProgress | Undecodable:
    """The progress in a record's value, or why there is none. Never raises."""
    found = decode_document(ReplayProgress, raw, PROGRESS_LIMITS)
    if isinstance(found, ReplayProgress) and found.schema_version > PROGRESS_VERSION:
        return Undecodable(deadletter.INVALID, "UnknownVersion", f"schema_version: above {PROGRESS_VERSION}")
    return found
