"""What a group has committed, asked for while a transaction on it is undecided."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from replayer.investigate.commits import committed
from tests.investigate.conftest import Log

pytestmark = pytest.mark.broker


async def test_an_undecided_transaction_is_waited_for_and_metadata_comes_back(log: Log, unique):
    group, place = unique("replayer-inv-group"), TopicPartition(log.sources[0], 1)
    producer = AIOKafkaProducer(bootstrap_servers=log.broker, transactional_id=group)
    await producer.start()
    try:

        def ask() -> asyncio.Task[dict[tuple[str, int], tuple[int, str]]]:
            return asyncio.create_task(committed(producer.client, group, tuple(place)))

        assert await asyncio.wait_for(ask(), 20) == {}
        for offset, said in ((5, "first ü"), (9, "")):
            await producer.begin_transaction()
            await producer.send_offsets_to_transaction({place: (offset, said)}, group)
            asking = ask()
            done, _ = await asyncio.wait([asking], timeout=0.5)
            assert not done
            await producer.commit_transaction()
            assert await asyncio.wait_for(asking, 20) == {(place.topic, 1): (offset, said)}
        await producer.begin_transaction()
        await producer.send_offsets_to_transaction({place: (99, "never")}, group)
        await producer.abort_transaction()
        assert await asyncio.wait_for(ask(), 20) == {(place.topic, 1): (9, "")}
    finally:
        await producer.stop()
