"""The publisher: where records go, in what order, and what becomes of those that are refused."""

from __future__ import annotations

import pytest
from aiokafka import TopicPartition

from replayer.core.outcome import Send
from replayer.kafka.admin import LogAdmin
from replayer.kafka.errors import BrokerUnreachable, PublishError
from replayer.kafka.partitioner import partition_of
from replayer.kafka.ports import free_port
from replayer.kafka.publisher import Appended, Publisher
from replayer.kafka.reader import LogReader


async def test_records_go_where_their_keys_murmur2_says_in_order_with_headers(broker, make_topic):
    name = await make_topic(partitions=4)
    keys = [f"workflow-{n}".encode() for n in range(50)]
    sent = [
        Send(name, key, b"%d" % turn, headers=(("traceparent", b"00-ab"), ("x", b"\xff")))
        for turn in range(4)
        for key in keys
    ]
    async with Publisher([broker]) as publisher:
        appended = await publisher.publish(sent)
    assert all(isinstance(entry, Appended) for entry in appended)
    assert [entry.partition for entry in appended] == [partition_of(record.key, 4) for record in sent]

    partitions = [TopicPartition(name, number) for number in range(4)]
    async with LogAdmin([broker]) as admin, LogReader([broker]) as reader:
        ends = await admin.end_offsets(partitions)
        records = [r async for batch in reader.read({tp: (0, ends[tp]) for tp in partitions}) for r in batch.records]
    for key in keys:
        assert [record.value for record in records if record.key == key] == [b"0", b"1", b"2", b"3"]
    assert {record.headers for record in records} == {(("traceparent", b"00-ab"), ("x", b"\xff"))}


async def test_one_refused_record_does_not_keep_the_others_back(broker, make_topic, unique):
    name = await make_topic(max_message_bytes=200_000)
    async with Publisher([broker], max_record_bytes=1 << 20) as publisher:
        settled = await publisher.publish(
            [
                Send(name, b"k", b"first"),
                Send(name, b"k", bytes(400_000)),  # more than the topic takes
                Send(name, b"k", bytes(3 << 20)),  # more than the client takes
                Send(unique("nowhere"), b"k", b"lost"),
                Send(name, b"k", None),
            ]
        )
        first, second, third, fourth, last = settled
        assert isinstance(first, Appended)
        assert isinstance(last, Appended)
        assert isinstance(second, PublishError)
        assert isinstance(third, PublishError)
        assert [second.index, third.index] == [1, 2]
        assert "TooLarge" in second.reason
        assert "TooLarge" in third.reason
        assert isinstance(fourth, PublishError)
        assert "does not exist" in str(fourth)

        with pytest.raises(PublishError, match="Record 1 was not accepted"):
            await publisher.publish_all([Send(name, None, b"x"), Send(name, None, bytes(400_000))])
    async with LogAdmin([broker]) as admin:
        assert await admin.partitions([unique("nowhere")]) == {}


async def test_a_record_refused_in_a_batch_does_not_take_its_company_with_it(broker, make_topic):
    """A compacted topic refuses a record without a key, and with it the whole batch it came in."""
    name = await make_topic(cleanup_policy="compact")
    sent = [Send(name, None if n in (3, 4, 9) else b"k", b"%d" % n) for n in range(12)]
    async with Publisher([broker]) as publisher:
        settled = await publisher.publish(sent)
        assert [n for n, entry in enumerate(settled) if isinstance(entry, PublishError)] == [3, 4, 9]
        after = await publisher.publish_all([Send(name, b"k", b"after")])
    tp = TopicPartition(name, 0)
    async with LogReader([broker]) as reader:
        values = [r.value async for batch in reader.read({tp: (0, after[0].offset + 1)}) for r in batch.records]
    assert values == [b"%d" % n for n in range(12) if n not in (3, 4, 9)] + [b"after"], "each once, in order"


async def test_no_broker_is_a_named_error():
    with pytest.raises(BrokerUnreachable, match="No Kafka broker answers"):
        async with Publisher([f"127.0.0.1:{free_port('127.0.0.1')}"]):
            pass
