"""What a replay found: results on `replay-results`, keyed by replay_id, and the terminal record that ends them.

A reader takes the records of its replay from the progress record's location on, until the terminal record: a stream
without one was cut off. Count and digest of the terminal record are over all results, in any order.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final, Literal

import orjson
from pydantic import Field, JsonValue, RootModel

from topics import deadletter
from topics.bounds import Limits
from topics.catalogue import CONTEXT_BYTES, DEFAULT_MAX_RECORD_BYTES
from topics.classification import INTERNAL, PUBLIC
from topics.codec import Undecodable
from topics.commands import Partition, ReplayId, TopicName
from topics.document import decode_document, encode_document
from topics.envelope import Envelope
from topics.fields import Count, Instant, Model, Sha256, Version, rfc3339
from topics.progress import Coverage, Sentence, State

RESULT_VERSION: Final = 1
RESULT_LIMITS: Final = Limits(max_record_bytes=DEFAULT_MAX_RECORD_BYTES + CONTEXT_BYTES, max_depth=80)
_DIGEST_MODULUS: Final = 2**256


class Position(Model):
    """Where an event stands in the log; `index` counts events within one record."""

    topic: Annotated[TopicName, INTERNAL]
    partition: Annotated[Partition, INTERNAL]
    offset: Annotated[Count, INTERNAL]
    index: Annotated[Count, INTERNAL] = 0


class ResultEvent(Envelope):
    """The projection of an event: its envelope and data without any confidential or restricted field."""

    data: Annotated[dict[str, JsonValue] | None, INTERNAL] = None


class ReplayResult(Model):
    """One event a replay found. `seq` counts from 0 in the order in which results were written."""

    schema_version: Annotated[Version, PUBLIC] = RESULT_VERSION
    kind: Annotated[Literal["result"], PUBLIC] = "result"
    replay_id: Annotated[ReplayId, INTERNAL]
    seq: Annotated[Count, INTERNAL]
    position: Annotated[Position, INTERNAL]
    commit_ts: Annotated[Instant, INTERNAL, Field(description="the log's clock: append time of the record")]
    sha256: Annotated[Sha256, INTERNAL, Field(description="of `event` as its bytes stand in this record")]
    event: Annotated[ResultEvent, INTERNAL]


class TerminalRecord(Model):
    """The last record of a replay: how it ended, how many results there are, and what they add up to."""

    schema_version: Annotated[Version, PUBLIC] = RESULT_VERSION
    kind: Annotated[Literal["terminal"], PUBLIC] = "terminal"
    replay_id: Annotated[ReplayId, INTERNAL]
    state: Annotated[State, PUBLIC]
    count: Annotated[Count, INTERNAL]
    digest: Annotated[Sha256, INTERNAL]
    coverage: Annotated[Coverage | None, INTERNAL] = None
    error: Annotated[Sentence | None, INTERNAL] = None
    ended_at: Annotated[Instant, INTERNAL]


class ResultRecord(RootModel[Annotated[ReplayResult | TerminalRecord, Field(discriminator="kind")]]):
    """What a record of `replay-results` may be."""


def encode_result(
    replay_id: str, seq: int, topic: str, partition: int, offset: int, log_ms: int, sha256: str, projection: bytes
) -> bytes:
    """A ReplayResult as a record's value, without building the model: the projection goes in as it is."""
    return orjson.dumps(
        {
            "schema_version": RESULT_VERSION,
            "kind": "result",
            "replay_id": replay_id,
            "seq": seq,
            "position": {"topic": topic, "partition": partition, "offset": offset, "index": 0},
            "commit_ts": rfc3339(log_ms * 1000),
            "sha256": sha256,
            "event": orjson.Fragment(projection),
        }
    )


def encode_terminal(record: TerminalRecord) -> bytes:
    """The terminal record as a record's value."""
    return encode_document(record)


def decode_result(raw: bytes | None, *, limits: Limits = RESULT_LIMITS) -> ReplayResult | TerminalRecord | Undecodable:
    """What a record of `replay-results` holds, or why it holds nothing. Never raises."""
    found = decode_document(ResultRecord, raw, limits)
    if isinstance(found, Undecodable):
        return found
    if found.root.schema_version > RESULT_VERSION:
        return Undecodable(deadletter.INVALID, "UnknownVersion", f"schema_version: above {RESULT_VERSION}")
    return found.root


def result_digest(topic: str, partition: int, offset: int, sha256: str, index: int = 0) -> int:
    """One result's share in the digest: SHA-256 over its position and its event's hash, as an integer."""
    said = f"{topic}\0{partition}\0{offset}\0{index}\0{sha256}"
    return int.from_bytes(hashlib.sha256(said.encode()).digest(), "big")


def add_digests(*digests: int) -> int:
    """The digest of several results: a sum, so that order and interruptions leave no trace in it."""
    return sum(digests) % _DIGEST_MODULUS


def digest_hex(digest: int) -> str:
    """64 hexadecimal digits."""
    return f"{digest:064x}"
