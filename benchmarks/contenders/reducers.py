"""What a peer runs per event: the product's own fold, or a lean one that keeps less. Both use the product's codec.

`all`: TimelineFold itself, called with one record: head, event row, identity row (dedupe) and decision per event, the
same rows as the product's. `lean`: head and event row only; an event is a duplicate where its own row is there
already. What lean leaves out (variants under one id, decisions, late and future marks, dead letters) is to the peer's
advantage. So is the check of the partition, which peers do not make.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Protocol

from replayer.core import head as head_rules
from replayer.core.head import Head, decode_head, encode_head
from replayer.core.outcome import Record, Rows
from replayer.core.rows import VARIANT_BYTES, encode_event, event_key, head_key, workflow_prefix
from replayer.core.timeline import TimelineFold
from topics.catalogue import DEFAULT_MAX_RECORD_BYTES
from topics.codec import Undecodable, read
from topics.projection import projected

Kept = Literal["all", "lean"]
Written = Sequence[tuple[bytes, bytes | None]]
Reduce = Callable[[Rows, Record], Written]


class SourceRecord:
    """A record as the fold wants it, made of whatever the peer hands over. `timestamp` in milliseconds."""

    __slots__ = ("headers", "key", "offset", "partition", "timestamp", "topic", "value")

    def __init__(
        self, topic: str, partition: int, offset: int, timestamp: int, key: bytes | None, value: bytes | None
    ) -> None:
        self.topic, self.partition, self.offset, self.timestamp = topic, partition, offset, timestamp
        self.key, self.value, self.headers = key, value, ()


class Lookup(Protocol):
    """How a peer reads one row."""

    def __call__(self, key: bytes, /) -> bytes | None: ...


class Reads:
    """Rows over a peer's point reads; the fold scans nothing."""

    __slots__ = ("get",)

    def __init__(self, get: Lookup) -> None:
        self.get = get

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    def scan(self, prefix: bytes, start: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        raise NotImplementedError("the timelines fold does not scan")


def reducer(kept: Kept) -> Reduce:
    return lean if kept == "lean" else _whole()


def _whole() -> Reduce:
    partition = 0
    fold = TimelineFold(partition_of=lambda _: partition, max_record_bytes=DEFAULT_MAX_RECORD_BYTES).fold

    def reduce(rows: Rows, record: Record) -> Written:
        folded = fold(rows, (record,), partition, record.timestamp)
        if folded.sends:
            raise RuntimeError(f"offset {record.offset} holds no event")
        return folded.stored

    return reduce


def lean(rows: Rows, record: Record) -> Written:
    """Head and event row of one event; nothing where it is a duplicate."""
    found = read(record.value, headers=record.headers)
    if isinstance(found, Undecodable):
        raise RuntimeError(f"offset {record.offset} holds no event: {found.detail}")
    event, content = found
    digest = hashlib.sha256(content).digest()
    rank = (event.occurred_us, event.event_id, digest[:VARIANT_BYTES])
    row_key = event_key(workflow_prefix(event.tenant_id, event.workflow_id), *rank)
    if rows.get(row_key) is not None:
        return ()
    key = head_key(event.tenant_id, event.workflow_id)
    stored = rows.get(key)
    head = decode_head(stored) if stored is not None else Head(event.tenant_id, event.workflow_id)
    head.commit_us = max(record.timestamp * 1000, head.commit_us + 1)
    projection = projected(event, content)
    head_rules.apply(head, event, rank, head_rules.used(event), {})
    share = digest if projection is content else hashlib.sha256(projection).digest()
    head_rules.add_digest(head, int.from_bytes(share, "big"))
    head.applied[record.topic] = record.offset + 1
    row = encode_event(0, head.commit_us, record.topic.encode(), record.partition, record.offset, 0, projection)
    return ((row_key, row), (key, encode_head(head)))
