"""Committed offsets as the broker's own log has them: every one, in its order, of one group."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition

from replayer.kafka.admin import LogAdmin
from tests.chaos.commits import commits, steps_back
from topics.catalogue import Topic


async def commit(broker: str, group: str, tp: TopicPartition, offset: int) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([tp])
        await consumer.commit({tp: offset})
    finally:
        await consumer.stop()


async def test_a_step_back_is_seen_though_a_later_commit_covers_it(broker, unique):
    topic, group = unique("committed"), unique("group")
    async with LogAdmin([broker]) as admin:
        await admin.create([Topic(topic, "", "", "internal", partitions=2)], 1)
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    for tp, offset in ((first, 3), (second, 1), (first, 2), (first, 4)):
        await commit(broker, group, tp, offset)
    await commit(broker, unique("other"), first, 9)

    found = await commits(broker, group)

    assert found == {first: [3, 2, 4], second: [1]}
    assert steps_back(found) == [f"committed offset of {topic}[0]: 3, then 2"]
