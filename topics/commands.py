"""What may be asked of replays: the command on `replay-commands`, keyed by replay_id, and everything it is made of."""

from __future__ import annotations

import hashlib
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from topics import deadletter
from topics.bounds import Limits
from topics.classification import INTERNAL, PUBLIC
from topics.codec import Undecodable
from topics.document import decode_document, encode_document
from topics.fields import NO_NUL, Count, Id, Instant, Model, Name, Version, WorkflowId

COMMAND_VERSION: Final = 1
MAX_WORKFLOWS: Final = 1_000
MAX_RANGES: Final = 1_000
COMMAND_LIMITS: Final = Limits(max_record_bytes=256 * 1024, max_depth=16)

START: Final = "start"
CANCEL: Final = "cancel"

ReplayId = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""Names a replay for ever; part of group names, client ids and URLs, hence the few characters."""

TopicName = Annotated[str, Field(min_length=1, max_length=249, pattern=r"^[A-Za-z0-9._-]+$")]
Partition = Annotated[int, Field(ge=0, le=2**31 - 1)]
Purpose = Annotated[str, Field(min_length=1, max_length=1_000, pattern=NO_NUL)]
Rate = Annotated[int, Field(ge=1, le=10_000_000)]


class WorkflowRef(Model):
    """One workflow: the same id in two tenants is two workflows."""

    tenant_id: Annotated[Id, INTERNAL]
    workflow_id: Annotated[WorkflowId, INTERNAL]


class SelectWorkflows(Model):
    """The events of these workflows."""

    kind: Annotated[Literal["workflows"], PUBLIC] = "workflows"
    workflows: Annotated[tuple[WorkflowRef, ...], INTERNAL, Field(min_length=1, max_length=MAX_WORKFLOWS)]


class SelectEverything(Model):
    """Every event in the range."""

    kind: Annotated[Literal["everything"], PUBLIC] = "everything"


Selection = Annotated[SelectWorkflows | SelectEverything, Field(discriminator="kind")]


class FromEarliest(Model):
    """All the log still has, up to `end` (log time, exclusive; none: to what is there when the replay starts)."""

    kind: Annotated[Literal["earliest"], PUBLIC] = "earliest"
    end: Annotated[Instant | None, INTERNAL] = None


class BetweenTimes(Model):
    """Records appended from `start` (inclusive) to `end` (exclusive; none: what is there when the replay starts)."""

    kind: Annotated[Literal["time"], PUBLIC] = "time"
    by: Annotated[Literal["log_time"], PUBLIC, Field(description="the log's clock: append time")] = "log_time"
    start: Annotated[Instant, INTERNAL]
    end: Annotated[Instant | None, INTERNAL] = None

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.end is not None and self.end <= self.start:
            raise ValueError("end must be after start")
        return self


class OffsetRange(Model):
    """[start, end) of one partition; without an end, what is there when the replay starts."""

    topic: Annotated[TopicName, INTERNAL]
    partition: Annotated[Partition, INTERNAL]
    start: Annotated[Count, INTERNAL]
    end: Annotated[Count | None, INTERNAL] = None

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.end is not None and self.end < self.start:
            raise ValueError("end must not be before start")
        return self


class BetweenOffsets(Model):
    """Exactly these stretches of these partitions, one stretch a partition, and nothing else."""

    kind: Annotated[Literal["offsets"], PUBLIC] = "offsets"
    partitions: Annotated[tuple[OffsetRange, ...], INTERNAL, Field(min_length=1, max_length=MAX_RANGES)]

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len({(part.topic, part.partition) for part in self.partitions}) < len(self.partitions):
            raise ValueError("a partition may have one range only")
        return self


Range = Annotated[FromEarliest | BetweenTimes | BetweenOffsets, Field(discriminator="kind")]


class ReplaySpec(Model):
    """What to replay, and why. Two commands for the same replay must say the same here."""

    name: Annotated[Name, INTERNAL, Field(description="ties the replay to its incident")]
    purpose: Annotated[Purpose, INTERNAL]
    selection: Annotated[Selection, INTERNAL]
    range: Annotated[Range, INTERNAL]
    mode: Annotated[Literal["metadata"], PUBLIC, Field(description="results hold projections, never content")] = (
        "metadata"
    )
    records_per_second: Annotated[Rate | None, PUBLIC, Field(description="read at most so many; none: unlimited")] = (
        None
    )
    keep_group: Annotated[bool, PUBLIC, Field(description="leave the consumer group when the replay has ended")] = False


class ReplayCommand(Model):
    """One command. `command_id` makes a repeated delivery of it harmless; `replay_id` is the record's key."""

    schema_version: Annotated[Version, PUBLIC] = COMMAND_VERSION
    command_id: Annotated[Id, INTERNAL]
    replay_id: Annotated[ReplayId, INTERNAL]
    action: Annotated[
        Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[a-z_]+$")],
        PUBLIC,
        Field(description="start or cancel; an action this version does not know is a dead letter"),
    ]
    requester: Annotated[Name, INTERNAL]
    requested_at: Annotated[Instant, INTERNAL]
    spec: Annotated[ReplaySpec | None, INTERNAL, Field(description="with start, and only there")] = None

    @model_validator(mode="after")
    def _spec_where_it_belongs(self) -> Self:
        if self.action == START and self.spec is None:
            raise ValueError("start needs a spec")
        if self.action == CANCEL and self.spec is not None:
            raise ValueError("cancel takes no spec")
        return self

    @property
    def content(self) -> str:
        """SHA-256 (hex) of who asks for what: equal for a retry, different for another request under the same id."""
        said = encode_document(self.spec) if self.spec is not None else b""
        return hashlib.sha256(b"\0".join((self.action.encode(), self.requester.encode(), said))).hexdigest()

    @property
    def key(self) -> bytes:
        """The record's key: decides the partition in all three replay topics and in the tables."""
        return self.replay_id.encode()


def encode_command(command: ReplayCommand) -> bytes:
    """The command as a record's value."""
    return encode_document(command)


def decode_command(raw: bytes | None) -> ReplayCommand | Undecodable:
    """The command in a record's value, or why there is none. Never raises.

    Valid does not mean known: `action` may be one of a later version.
    """
    found = decode_document(ReplayCommand, raw, COMMAND_LIMITS)
    if isinstance(found, ReplayCommand) and found.schema_version > COMMAND_VERSION:
        return Undecodable(deadletter.INVALID, "UnknownVersion", f"schema_version: above {COMMAND_VERSION}")
    return found
