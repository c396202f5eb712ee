"""One batch is one Faust message: the records of a fetch and the stretch of log they cover."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from replayer.core.unread import Unread


class Batch:
    """Looks like one consumer record to Faust: its offset is the last one the batch covers, its value the batch itself.

    It covers [before, after): commit markers, aborted records and compaction holes included, so that
    "read up to here" is known even where the log holds nothing a reader sees. An empty batch stands for
    a fetch that brought nothing but a marker.

    `epoch` counts the seeks of the partition: a batch fetched before a seek is told from one fetched after it.
    `gap` is (expired from, log start) where the wanted offsets had expired and reading went on at the log's start.
    `size` is in bytes of keys and values.
    `beyond` is (wanted, log end) where the wanted offset lies above the end: the topic was truncated or recreated.
    """

    __slots__ = (
        "after",
        "before",
        "beyond",
        "checksum",
        "epoch",
        "gap",
        "headers",
        "key",
        "offset",
        "partition",
        "records",
        "serialized_key_size",
        "serialized_value_size",
        "size",
        "timestamp",
        "timestamp_type",
        "topic",
    )

    def __init__(
        self,
        topic: str,
        partition: int,
        records: Sequence[Any],
        before: int,
        after: int,
        epoch: int,
        gap: tuple[int, int] | None = None,
        beyond: tuple[int, int] | None = None,
        size: int = 0,
    ) -> None:
        self.topic, self.partition = topic, partition
        self.records = records
        self.before, self.after, self.epoch, self.gap, self.beyond = before, after, epoch, gap, beyond
        self.offset, self.size = after - 1, size
        self.timestamp = records[-1].timestamp if records else 0
        self.timestamp_type = 0
        self.headers, self.key, self.checksum = (), None, None
        self.serialized_key_size = self.serialized_value_size = 0

    @property
    def value(self) -> Batch:
        return self


def weight(records: Sequence[Any]) -> int:
    """Bytes of their keys and values."""
    if isinstance(records, Unread):
        return records.weight
    return sum(map(_weight, records))


def since(records: Sequence[Any], offset: int) -> Sequence[Any]:
    """Those at this offset and above."""
    if isinstance(records, Unread):
        return records.since(offset)
    return [record for record in records if record.offset >= offset]


def pairs(records: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    """Their keys and values."""
    if isinstance(records, Unread):
        return records.pairs()
    return ((record.key, record.value) for record in records)


def _weight(record: Any) -> int:
    return len(record.value or b"") + len(record.key or b"")


def _fitting(records: Sequence[Any], start: int, most: int, most_bytes: int) -> int:
    """As Unread.fitting."""
    if isinstance(records, Unread):
        return records.fitting(start, most, most_bytes)
    size = 0
    for index in range(start, len(records)):
        size += _weight(records[index])
        if index > start and (index - start >= most or size > most_bytes):
            return index
    return len(records)


def split(
    topic: str,
    partition: int,
    records: Sequence[Any],
    before: int,
    after: int,
    epoch: int,
    max_records: int,
    max_bytes: int,
) -> list[Batch]:
    """Cut a fetch covering [before, after) into batches within the limits; together they cover it without a hole.

    `before` is where the fetch began, `after` the consumer's position behind it. A single record above
    `max_bytes` is a batch of its own. No records: one empty batch.
    """
    batches: list[Batch] = []
    start, begin = 0, before
    while (end := _fitting(records, start, max_records, max_bytes)) < len(records):
        part = records[start:end]
        reached = part[-1].offset + 1
        batches.append(Batch(topic, partition, part, begin, reached, epoch, size=weight(part)))
        start, begin = end, reached
    rest = records[start:]
    batches.append(Batch(topic, partition, rest, begin, after, epoch, size=weight(rest)))
    return batches
