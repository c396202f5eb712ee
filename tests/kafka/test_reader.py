"""The reader gives exactly the committed records of a range, and ends, whatever the last offsets are."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from replayer.core.outcome import Send
from replayer.kafka.errors import BrokerUnreachable, PositionExpired, TopicError
from replayer.kafka.ports import free_port
from replayer.kafka.publisher import Publisher
from replayer.kafka.reader import LogReader


async def fill(broker, name, values, partition=0):
    async with Publisher([broker]) as publisher:
        await publisher.publish_all([Send(name, None, value, partition=partition) for value in values])


async def read(broker, ranges, **options):
    async with LogReader([broker], **options) as reader:
        async with asyncio.timeout(60):
            return [batch async for batch in reader.read(ranges)]


def values(batches):
    return [record.value for batch in batches for record in batch.records]


def assert_joined(batches, tp, start, end):
    """The batches of a partition cover [start, end) without a gap, and hold no record outside their own range."""
    at = start
    for batch in (batch for batch in batches if batch.partition == tp):
        assert batch.before == at < batch.after
        assert all(batch.before <= record.offset < batch.after for record in batch.records)
        at = batch.after
    assert at == end


async def test_a_range_within_a_partition(broker, make_topic):
    name = await make_topic()
    tp = TopicPartition(name, 0)
    await fill(broker, name, [b"%d" % n for n in range(100)])
    batches = await read(broker, {tp: (10, 90)}, max_records=7)
    assert values(batches) == [b"%d" % n for n in range(10, 90)]
    assert max(len(batch.records) for batch in batches) == 7
    assert_joined(batches, tp, 10, 90)


async def test_several_partitions_each_with_its_own_range(broker, make_topic):
    name = await make_topic(partitions=3)
    for partition in range(3):
        await fill(broker, name, [b"%d-%d" % (partition, n) for n in range(50)], partition)
    ranges = {TopicPartition(name, 0): (0, 50), TopicPartition(name, 1): (49, 50), TopicPartition(name, 2): (7, 7)}
    batches = await read(broker, ranges, max_records=20)
    assert sorted(values(batches)) == sorted([b"0-%d" % n for n in range(50)] + [b"1-49"])
    for tp, (start, end) in ranges.items():
        assert_joined(batches, tp, start, end)


@pytest.mark.parametrize("last", ["commit", "abort", "only aborted"])
async def test_it_ends_although_the_last_offsets_are_markers(broker, make_topic, unique, last):
    name = await make_topic()
    tp = TopicPartition(name, 0)
    async with AIOKafkaProducer(bootstrap_servers=broker, transactional_id=unique("tx")) as producer:
        if last != "only aborted":
            async with producer.transaction():
                for n in range(5):
                    await producer.send(name, b"%d" % n)
        if last != "commit":
            await producer.begin_transaction()
            for _ in range(5):
                await producer.send(name, b"never seen")
            await producer.abort_transaction()
    end = {"commit": 6, "abort": 12, "only aborted": 6}[last]  # markers included, which a broker writes in its own time
    batches = await read(broker, {tp: (0, end)})
    assert values(batches) == ([] if last == "only aborted" else [b"%d" % n for n in range(5)])
    assert_joined(batches, tp, 0, end)

    # A start at the last marker itself: nothing but the position moves.
    batches = await read(broker, {tp: (end - 1, end)})
    assert values(batches) == []
    assert_joined(batches, tp, end - 1, end)


async def test_an_end_beyond_an_open_transaction_is_reached_when_it_ends(broker, make_topic, unique):
    name = await make_topic()
    tp = TopicPartition(name, 0)
    async with AIOKafkaProducer(bootstrap_servers=broker, transactional_id=unique("tx")) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(name, b"late")
        reading = asyncio.create_task(read(broker, {tp: (0, 2)}))
        done, _ = await asyncio.wait([reading], timeout=0.5)
        assert not done
        await producer.commit_transaction()
        batches = await reading
    assert values(batches) == [b"late"]
    assert_joined(batches, tp, 0, 2)


async def test_open_and_aborted_records_can_be_asked_for(broker, make_topic, unique):
    name = await make_topic()
    tp = TopicPartition(name, 0)
    async with AIOKafkaProducer(bootstrap_servers=broker, transactional_id=unique("tx")) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(name, b"aborted")
        await producer.abort_transaction()
    assert values(await read(broker, {tp: (0, 2)}, isolation="read_uncommitted")) == [b"aborted"]


async def test_an_expired_and_a_never_written_start_are_named(broker, make_topic):
    name = await make_topic()
    tp = TopicPartition(name, 0)
    await fill(broker, name, [b"x"] * 10)
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    await admin.delete_records({tp: RecordsToDelete(before_offset=4)})
    await admin.close()

    with pytest.raises(PositionExpired, match=r"\[0\] holds offsets 4 to 10; offset 3 has expired") as expired:
        await read(broker, {tp: (3, 10)})
    assert (expired.value.offset, expired.value.begin, expired.value.end) == (3, 4, 10)
    assert len(values(await read(broker, {tp: (4, 10)}))) == 6
    with pytest.raises(PositionExpired, match="offset 50 was never written"):
        await read(broker, {tp: (50, 60)})


async def test_records_deleted_while_reading_are_named(broker, make_topic):
    name = await make_topic()
    tp = TopicPartition(name, 0)
    await fill(broker, name, [bytes(2000)] * 300)
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    async with LogReader([broker], max_records=1, max_fetch_bytes=4000) as reader, asyncio.timeout(60):
        batches = reader.read({tp: (0, 300)})
        await anext(batches)
        await admin.delete_records({tp: RecordsToDelete(before_offset=250)})
        await admin.close()
        with pytest.raises(PositionExpired, match="holds offsets 250 to 300"):
            _ = [batch async for batch in batches]


async def test_what_cannot_be_read_is_refused(broker, make_topic, unique):
    tp = TopicPartition(await make_topic(), 0)
    with pytest.raises(ValueError, match="ends before it starts"):
        await read(broker, {tp: (5, 4)})
    with pytest.raises(TopicError, match="does not exist"):
        await read(broker, {TopicPartition(unique("nowhere"), 0): (0, 1)})
    with pytest.raises(TopicError, match=r"\[9\] does not exist"):
        await read(broker, {tp._replace(partition=9): (0, 1)})
    with pytest.raises(BrokerUnreachable):
        await read(f"127.0.0.1:{free_port('127.0.0.1')}", {tp: (0, 1)})


async def test_one_reader_reads_one_set_of_ranges_after_another(broker, make_topic):
    name = await make_topic()
    tp = TopicPartition(name, 0)
    await fill(broker, name, [b"%d" % n for n in range(10)])
    async with LogReader([broker]) as reader, asyncio.timeout(60):
        first = [batch async for batch in reader.read({tp: (5, 10)})]
        second = [batch async for batch in reader.read({tp: (0, 5)})]
    assert values(first) + values(second) == [b"%d" % n for n in (5, 6, 7, 8, 9, 0, 1, 2, 3, 4)]
