"""Clients that are cancelled while they open leave no connection behind."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest
from aiokafka import TopicPartition
from aiokafka.conn import AIOKafkaConnection

from replayer.kafka.admin import LogAdmin
from replayer.kafka.publisher import Publisher
from replayer.kafka.reader import LogReader


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


@pytest.mark.parametrize("use", [admin, offsets, reader, publisher])
async def test_cancelled_after_any_request_nothing_stays_open(broker, make_topic, monkeypatch, use):
    topic, connections = await make_topic(), Connections(monkeypatch)
    for number in count(1):
        connections.requests_left = number
        connections.victim = asyncio.create_task(use(broker, topic))
        await asyncio.wait([connections.victim])
        assert not connections.open
        if not connections.victim.cancelled():
            break
    assert number > 2, "it was cancelled in its start, at least"
