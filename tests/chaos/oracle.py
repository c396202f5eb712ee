"""What the tables must come to: the pure fold over everything the source logs hold, read by a plain consumer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition

from replayer.core.indexing import indexed
from replayer.core.outcome import Send, whole
from replayer.core.timeline import TimelineFold
from replayer.kafka.partitioner import partition_of
from tests.chaos import seen, shelves
from tests.chaos.seen import At, Name, Seen
from tests.drawn import MemoryRows
from topics import deadletter
from topics.catalogue import DEFAULT_MAX_RECORD_BYTES, TEMPLATE_USAGE

_AT_A_TIME = 1_000


@dataclass(frozen=True, slots=True)
class Expected:
    """`held`: every position the logs hold a record at. `letters`: those that must be dead letters, and why. `shelves`:
    the rows of the index, as `shelves.lasting` has them.
    """

    timelines: Mapping[Name, Seen]
    letters: Mapping[At, str]
    held: frozenset[At]
    shelves: Mapping[bytes, Any] = field(default_factory=dict)


def expected(
    logs: Mapping[TopicPartition, Sequence[Any]], partitions: int, raises: Callable[[bytes | None], bool]
) -> Expected:
    """The fold of all source logs; one topic after the other, so in an order no worker has seen them in.

    `raises`: the records on which the workers' fold is made to raise.
    """
    fold = TimelineFold(
        partition_of=lambda workflow: partition_of(workflow, partitions), max_record_bytes=DEFAULT_MAX_RECORD_BYTES
    )
    rows: dict[bytes, bytes] = {}
    letters: dict[At, str] = {}
    usage: list[Send] = []
    for partition in range(partitions):
        memory = MemoryRows()
        for tp in sorted(tp for tp in logs if tp.partition == partition):
            found = [record for record in logs[tp] if not raises(record.value)]
            letters |= {(*tp, record.offset): deadletter.POISON for record in logs[tp] if raises(record.value)}
            for start in range(0, len(found), _AT_A_TIME):
                batch, now_ms = found[start : start + _AT_A_TIME], int(time.time() * 1000)
                folded = whole(indexed(fold.folding(memory, batch, partition, now_ms)))
                memory.write(folded.stored)
                for send in folded.sends:
                    if send.topic == TEMPLATE_USAGE.name:
                        usage.append(send)
                        continue
                    context = {name: (value or b"").decode("utf-8", "replace") for name, value in send.headers}
                    at = (tp.topic, partition, int(context[deadletter.OFFSET]))
                    letters[at] = context[deadletter.REASON]
        rows |= memory
    held = frozenset((tp.topic, tp.partition, record.offset) for tp, found in logs.items() for record in found)
    return Expected(seen.from_rows(rows), letters, held, shelves.expected(usage))
