"""What a source may hold: aborted transactions, markers at its end, silence, a record no fold takes, a gap."""

from __future__ import annotations

from aiokafka import AIOKafkaProducer
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition

from tests.engine.counting import POISON
from tests.engine.workers import Field, admin, committed, read_all, until


async def transaction(bootstrap, name, topic, values, *, partition=0, commit=True):
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=name) as producer:
        await producer.begin_transaction()
        for value in values:
            await producer.send_and_wait(topic, value, b"k", partition=partition)
        if commit:
            await producer.commit_transaction()
        else:
            await producer.abort_transaction()


async def positions_are_committed(field, topic, partition="0"):
    async def equal():
        found = await field.partitions()
        position = found and found[partition]["positions"].get(topic)
        return position and (await committed(field.bootstrap, field.app, topic)).get(partition) == position and position

    return await until(equal, what=f"the committed offset of {topic} is the table's position")


async def test_transactions_markers_an_idle_source_and_a_record_no_fold_takes(broker, unique, tmp_path):
    async with Field(broker, unique("markers"), tmp_path) as field:
        busy, idle = field.sources
        name = f"{field.app}-source"
        await transaction(broker, name, busy, [b"aborted"] * 5, commit=False)  # offsets 0-4, marker 5
        await transaction(broker, name, busy, [b"kept"] * 3)  # 6-8, marker 9
        await transaction(broker, name, busy, [b"aborted"] * 2, commit=False)  # 10-11, marker 12: the log's end
        async with AIOKafkaProducer(bootstrap_servers=broker) as producer:
            for value in (b"before", POISON, b"after", b"after"):
                await producer.send(busy, value, b"k", partition=1)
        worker = field.worker("w1")
        found = await field.all_counted(6)
        assert found["1"]["positions"][busy] == 4
        assert found["0"]["positions"][busy] in (9, 10, 13)
        assert await positions_are_committed(field, busy)

        # The second source has been silent so far. One record makes the position behind its markers durable too.
        await transaction(broker, name, idle, [b"aborted"], commit=False)
        await transaction(broker, name, idle, [b"kept"])
        await transaction(broker, name, busy, [b"kept"])
        await field.all_counted(8)
        await positions_are_committed(field, busy)
        await positions_are_committed(field, idle)

        worker.kill()
        worker.start()
        found = await field.all_counted(8)
        assert found["0"]["gaps"] == []
        await transaction(broker, name, idle, [b"kept"])
        await field.all_counted(9)
        assert "offsets are committed but the table has none" not in worker.log

        (letter,) = await read_all(broker, field.options["dead_letters"])
        assert (letter.key, letter.value) == (b"k", POISON)
        assert dict(letter.headers) == {"error": b"ValueError", "offset": b"1"}


async def test_records_that_expired_unread_are_a_gap_and_work_goes_on(broker, unique, tmp_path):
    async with Field(broker, unique("gap"), tmp_path) as field:
        topic = field.sources[0]
        worker = field.worker("w1")
        await field.send(100, keys=1)
        found = await field.all_counted()
        (partition,) = [p for p, state in found.items() if state["events"]]
        worker.kill()

        await field.send(50, keys=1)
        tp = TopicPartition(topic, int(partition))
        async with admin(broker) as client:
            await client.delete_records({tp: RecordsToDelete(before_offset=130)})
        worker.start()
        found = await field.all_counted(120)
        assert found[partition]["gaps"] == [[topic, 100, 130]]
        assert found[partition]["positions"][topic] == 150
        assert "a stretch of the log had expired" in worker.log

        # Expired exactly up to the position: nothing is missing.
        worker.kill()
        async with admin(broker) as client:
            await client.delete_records({tp: RecordsToDelete(before_offset=150)})
        worker.start()
        await field.ready()
        await field.send(10, keys=1)
        found = await field.all_counted(130)
        assert found[partition]["gaps"] == [[topic, 100, 130]]
