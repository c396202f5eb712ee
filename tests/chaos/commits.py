"""Every offset a group has ever committed, in the order the broker took them: from the log the broker keeps of it."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from aiokafka import TopicPartition

from tests.chaos import logs

_TOPIC = "__consumer_offsets"
_PARTITIONS = 4  # of the embedded broker
_OFFSET_KEYS = (0, 1)  # versions of keys that stand for an offset; others are of the group itself


async def commits(broker: str, group: str) -> dict[TopicPartition, list[int | None]]:
    """Of each partition, one after the other; None where its offset was deleted. Of transactions: what committed."""
    found: defaultdict[TopicPartition, list[int | None]] = defaultdict(list)
    for records in (await logs.records(broker, [_TOPIC], _PARTITIONS)).values():
        for record in records:
            if (named := _key(record.key)) is not None and named[0] == group:
                found[named[1]].append(None if record.value is None else struct.unpack_from(">q", record.value, 2)[0])
    return dict(found)


def steps_back(found: Mapping[TopicPartition, Sequence[int | None]]) -> list[str]:
    """Each time an offset was committed that is lower than the one before it."""
    return [
        f"committed offset of {tp.topic}[{tp.partition}]: {before}, then {after}"
        for tp, offsets in found.items()
        for before, after in pairwise(offsets)
        if before is not None and after is not None and after < before
    ]


def _key(key: bytes) -> tuple[str, TopicPartition] | None:
    (version,) = struct.unpack_from(">h", key)
    if version not in _OFFSET_KEYS:
        return None
    group, at = _text(key, 2)
    topic, at = _text(key, at)
    return group, TopicPartition(topic, struct.unpack_from(">i", key, at)[0])


def _text(buffer: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">h", buffer, at)
    return buffer[at + 2 : at + 2 + length].decode(), at + 2 + length
