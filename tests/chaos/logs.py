"""What the logs hold, read from their beginning by a plain consumer that knows nothing of tables."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition

from replayer.kafka.admin import LogAdmin
from replayer.kafka.partitioner import partition_of
from replayer.kafka.reader import LogReader
from tests.chaos.seen import At
from topics import deadletter
from topics.catalogue import DEAD_LETTERS


async def records(broker: str, topics: Collection[str], partitions: int) -> dict[TopicPartition, list[Any]]:
    """Every committed record that the logs still hold, by partition, in the order of offsets."""
    tps = [TopicPartition(topic, number) for topic in topics for number in range(partitions)]
    async with LogAdmin([broker]) as admin:
        begins, ends = await admin.begin_offsets(tps), await admin.end_offsets(tps)
    found: dict[TopicPartition, list[Any]] = {tp: [] for tp in tps}
    async with LogReader([broker]) as reader:
        async for batch in reader.read({tp: (begins[tp], ends[tp]) for tp in tps}):
            found[batch.partition].extend(batch.records)
    return found


async def table(broker: str, changelog: str, partitions: int) -> dict[int, dict[bytes, bytes]]:
    """What a changelog comes to, by partition: the last value of each key, tombstones taken out."""
    rows: dict[int, dict[bytes, bytes]] = {}
    for tp, found in (await records(broker, [changelog], partitions)).items():
        last = {record.key: record.value for record in found}
        rows[tp.partition] = {key: value for key, value in last.items() if value is not None}
    return rows


async def append(broker: str, records: Iterable[Any], partitions: int) -> dict[At, At]:
    """Produce these records again, by key, in the order of their times; answers with where each was and is."""
    ordered = sorted(records, key=lambda record: (record.timestamp, record.partition, record.offset))
    async with AIOKafkaProducer(
        bootstrap_servers=broker, enable_idempotence=True, max_request_size=2 << 20
    ) as producer:
        sent = [
            await producer.send(one.topic, one.value, one.key, partition_of(one.key, partitions)) for one in ordered
        ]
        places = await asyncio.gather(*sent)
    return {
        (one.topic, one.partition, one.offset): (place.topic, place.partition, place.offset)
        for one, place in zip(ordered, places, strict=True)
    }


async def dead_letters(broker: str, partitions: int, since: Mapping[TopicPartition, int]) -> list[tuple[At, str]]:
    """Where each dead letter came from, and why it is one: those from there on, where it says."""
    letters = []
    for tp, found in (await records(broker, [DEAD_LETTERS.name], partitions)).items():
        for record in (record for record in found if record.offset >= since.get(tp, 0)):
            context = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
            at = (context[deadletter.TOPIC], int(context[deadletter.PARTITION]), int(context[deadletter.OFFSET]))
            letters.append((at, context[deadletter.REASON]))
    return letters
