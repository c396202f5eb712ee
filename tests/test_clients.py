"""Clients that are cancelled while they open leave no connection behind."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvloop
from aiokafka import TopicPartition, conn
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import ConcurrentTransactions, KafkaConnectionError
from aiokafka.producer.sender import AddPartitionsToTxnHandler
from aiokafka.protocol.metadata import MetadataRequest

from replayer import clients
from replayer.engine.config import EngineConfig
from replayer.engine.producer import LaneProducer
from replayer.investigate.config import InvestigateConfig
from replayer.investigate.ledger import Ledger
from replayer.kafka.admin import LogAdmin
from replayer.kafka.partitioner import partition_of
from replayer.kafka.publisher import Publisher
from replayer.kafka.reader import LogReader
from topics.catalogue import Topic
from topics.classification import Classification


class Connections:
    """Those that are open now. The task that is the victim is cancelled with the so-many-th request of all together."""

    def __init__(self, monkeypatch):
        self.open, self.victim, self.requests_left = set(), None, 0
        connect, send, close = AIOKafkaConnection.connect, AIOKafkaConnection.send, AIOKafkaConnection.close

        async def connected(connection):
            self.open.add(connection)
            return await connect(connection)

        def sent(connection, *arguments, **options):
            self.requests_left -= 1
            if self.requests_left == 0:
                self.victim.cancel()
            return send(connection, *arguments, **options)

        def closed(connection, *arguments, **options):
            self.open.discard(connection)
            return close(connection, *arguments, **options)

        monkeypatch.setattr(AIOKafkaConnection, "connect", connected)
        monkeypatch.setattr(AIOKafkaConnection, "send", sent)
        monkeypatch.setattr(AIOKafkaConnection, "close", closed)


async def offsets(broker, topic):
    async with LogAdmin([broker]) as admin:
        await admin.end_offsets([TopicPartition(topic, 0)])


async def admin(broker, topic):
    async with LogAdmin([broker]):
        pass


async def reader(broker, topic):
    async with LogReader([broker]):
        pass


async def publisher(broker, topic):
    async with Publisher([broker]):
        pass


async def ledger(broker, topic):
    config = InvestigateConfig([broker], partition_of, progress_topic=topic, results_topic=topic)
    async with Ledger(config, topic):
        pass


async def lane(broker, topic):
    config = EngineConfig(
        app_id=topic,
        brokers=[broker],
        data_dir=Path("unused"),
        instance_id="0",
        web_host="127.0.0.1",
        web_port=1,
        web_url="http://127.0.0.1:1",
    )
    producer = LaneProducer(config, "table", 0)
    await producer.start()
    await producer.stop()


@pytest.mark.broker
@pytest.mark.parametrize("use", [admin, offsets, reader, publisher, ledger, lane])
async def test_cancelled_after_any_request_nothing_stays_open(broker, unique, monkeypatch, use):
    topic, connections = unique("topic"), Connections(monkeypatch)
    async with LogAdmin([broker]) as client:
        await client.create([Topic(topic, "key", "bytes", Classification.INTERNAL, partitions=1)], 1)
    for number in count(1):
        connections.requests_left = number
        connections.victim = asyncio.create_task(use(broker, topic))
        await asyncio.wait([connections.victim])
        assert not connections.open
        if not connections.victim.cancelled():
            break
    assert number > 2, "it was cancelled in its start, at least"


async def test_a_transaction_begun_too_early_is_begun_again_soon() -> None:
    """aiokafka waits 20 ms for markers that are written in two. Goes red when it reads another name for that."""

    class Client:
        async def start(self) -> None:
            pass

    await clients.start(Client(), close=Client().start)
    transaction = SimpleNamespace(txn_partitions=set())
    handler = AddPartitionsToTxnHandler(SimpleNamespace(_txn_manager=transaction, _retry_backoff=0.1), [])
    concurrent = SimpleNamespace(errors=[("changelog", [(0, ConcurrentTransactions.errno)])])
    assert 0 < handler.handle_response(concurrent) <= 0.005


def test_a_connection_that_was_lost_a_moment_ago_is_a_kafka_error(broker):
    """On uvloop, where a write to it raises a bare RuntimeError until the reader has noticed."""
    host, _, port = broker.partition(":")
    moments = 8

    async def lost(kind, turns):
        connection = kind(host, int(port))
        await connection.connect()
        try:
            connection._writer.transport.abort()
            for _ in range(turns):
                await asyncio.sleep(0)
            with pytest.raises((KafkaConnectionError, RuntimeError)) as raised:
                await connection.send(MetadataRequest([]))
            return raised.type
        finally:
            connection.close()

    async def all_of_them(kind):
        return [await lost(kind, turns) for turns in range(moments)]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert RuntimeError in runner.run(all_of_them(AIOKafkaConnection)), "this module's Connection can go"
        assert runner.run(all_of_them(clients.Connection)) == [KafkaConnectionError] * moments


async def test_what_is_started_connects_so(broker):
    async with LogAdmin([broker]):
        assert conn.AIOKafkaConnection is clients.Connection
