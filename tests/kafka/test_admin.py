"""Topics, offsets and groups on a real broker."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import NonEmptyGroup
from aiokafka.structs import OffsetAndMetadata

from replayer.core.outcome import Send
from replayer.kafka.admin import LogAdmin
from replayer.kafka.errors import BrokerUnreachable, TopicError
from replayer.kafka.metadata import Described, describe
from replayer.kafka.ports import free_port
from replayer.kafka.publisher import Publisher
from topics.catalogue import CO_PARTITIONED, TOPICS, changelog


@pytest.fixture
async def admin(broker):
    async with LogAdmin([broker]) as admin:
        yield admin


@pytest.fixture
def catalogue(unique):
    """The product's whole catalogue and a changelog, under names of this test."""
    return [replace(topic, name=unique(topic.name)) for topic in (*TOPICS, changelog("app", "timelines"))]


async def test_the_catalogue_is_made_once_and_then_is_as_it_should_be(admin, catalogue, unique):
    together = {unique(topic.name) for topic in CO_PARTITIONED}
    assert len(await admin.check(catalogue, together)) == len(catalogue), "each is missing"

    names = [topic.name for topic in catalogue]
    assert sorted(await admin.create(catalogue)) == sorted(names)
    assert await admin.create(catalogue) == [], "made already"

    assert await admin.check(catalogue, together) == []
    assert await admin.partitions(names) == {topic.name: topic.partitions for topic in catalogue}
    assert (await admin._configs([names[0]]))[names[0]]["message.timestamp.type"] == "LogAppendTime"


async def test_what_differs_on_the_cluster_is_told(admin, catalogue, unique):
    first, second, *_ = catalogue
    await admin.create([first])
    await admin._admin.create_topics([NewTopic(second.name, 3, 1)])  # with the cluster's own defaults
    await admin._await_leaders([second.name])
    found = await admin.check([first, second], {first.name, second.name})
    assert any("partitions" in sentence for sentence in found)
    assert any(f"{second.name} has message.timestamp.type=CreateTime" in sentence for sentence in found)


async def test_too_many_replicas_are_refused_with_the_setting_to_change(admin, catalogue):
    with pytest.raises(TopicError, match="REPLAYER_REPLICATION_FACTOR"):
        await admin.create(catalogue[:1], replication_factor=3)


async def test_offsets_of_an_empty_and_of_a_filled_partition(admin, broker, make_topic):
    name = await make_topic(partitions=2)
    empty, filled = TopicPartition(name, 0), TopicPartition(name, 1)
    async with Publisher([broker]) as publisher:
        appended = await publisher.publish_all([Send(name, None, b"%d" % n, partition=1) for n in range(5)])

    assert await admin.begin_offsets([empty, filled]) == {empty: 0, filled: 0}
    assert await admin.end_offsets([empty, filled]) == {empty: 0, filled: 5}
    first, last = appended[0].timestamp, appended[-1].timestamp
    assert await admin.offsets_for_times({filled: first, empty: first}) == {filled: 0, empty: None}
    assert await admin.offsets_for_times({filled: last + 1}) == {filled: None}
    with pytest.raises(TopicError, match=r"\[2\] does not exist"):
        await admin.end_offsets([TopicPartition(name, 2)])
    with pytest.raises(TopicError, match="does not exist"):
        await admin.begin_offsets([TopicPartition(name + "-not", 0)])


async def test_an_open_transaction_bounds_the_committed_end(admin, broker, make_topic, unique):
    name = await make_topic()
    partition = TopicPartition(name, 0)
    async with AIOKafkaProducer(bootstrap_servers=broker, transactional_id=unique("tx")) as producer:
        async with producer.transaction():
            await producer.send_and_wait(name, b"done")
        await producer.begin_transaction()
        await producer.send_and_wait(name, b"open")
        committed = await admin.end_offsets([partition], "read_committed")
        everything = await admin.end_offsets([partition], "read_uncommitted")
        await producer.abort_transaction()
    assert committed == {partition: 2}, "the record and its marker"
    assert everything == {partition: 3}


async def test_groups_are_listed_and_deleted_with_their_offsets(admin, broker, make_topic, unique):
    name, group = await make_topic(), unique("group")
    partition = TopicPartition(name, 0)
    async with Publisher([broker]) as publisher:
        await publisher.publish_all([Send(name, None, b"x")] * 3)
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([partition])
        await consumer.commit({partition: OffsetAndMetadata(2, "")})
    finally:
        await consumer.stop()

    assert group in await admin.groups()
    assert await admin.committed(group) == {partition: 2}
    assert await admin.delete_groups([group, unique("never-there")]) == [group]
    assert group not in await admin.groups()
    assert await admin.committed(group) == {}


async def test_a_live_group_is_not_deleted(admin, broker, make_topic, unique):
    name, group = await make_topic(), unique("group")
    consumer = AIOKafkaConsumer(name, bootstrap_servers=broker, group_id=group)
    await consumer.start()
    try:
        with pytest.raises(NonEmptyGroup):
            await admin.delete_groups([group])
    finally:
        await consumer.stop()


async def test_a_deleted_topic_is_gone_and_deleting_it_again_is_no_error(admin, make_topic):
    name = await make_topic()
    await admin.delete_topics([name])
    await admin.delete_topics([name])
    assert await admin.partitions([name]) == {}


async def test_no_broker_is_a_named_error():
    with pytest.raises(BrokerUnreachable, match="No Kafka broker answers at 127"):
        async with LogAdmin([f"127.0.0.1:{free_port('127.0.0.1')}"]):
            pass


async def test_partitions_a_topic_was_given_are_there_when_it_has_been_given_them(admin, make_topic, monkeypatch):
    """What is checked right afterwards must not find fewer: a worker would not start. Brokers hear of it one by one."""
    name, asked = await make_topic(partitions=1), 0

    async def late(client, names):
        nonlocal asked
        asked += 1
        return {name: Described(1 if asked < 4 else (await describe(client, names))[name].partitions, True)}

    monkeypatch.setattr("replayer.kafka.admin.describe", late)
    await admin.grow(name, 4)
    assert await admin.partitions([name]) == {name: 4}
    await admin.grow(name, 2)
    assert await admin.partitions([name]) == {name: 4}
