"""The producer of one table partition, on a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses

import pytest
from aiokafka.admin import NewTopic
from aiokafka.errors import MessageSizeTooLargeError, ProducerFenced

from replayer.core.outcome import Send
from replayer.engine.producer import LaneProducer
from replayer.native.library import Library, NoLibrary
from tests.engine.counting import TABLE
from tests.engine.stores import engine_at
from tests.engine.workers import admin, committed, read_all, until


def _libraries():
    """None, and the native one where there is one: the summary says so where there is none."""
    yield pytest.param(None, id="by aiokafka")
    with contextlib.suppress(NoLibrary):
        yield pytest.param(Library(1 << 20), id="framed")


by_either = pytest.mark.parametrize("library", list(_libraries()))


@pytest.fixture
async def config(broker, unique, tmp_path):
    app = unique("producer")
    async with admin(broker) as client:
        await client.create_topics(
            [NewTopic(name, 2, 1) for name in (f"{app}-{TABLE}-changelog", f"{app}-sends", f"{app}-source")]
        )
    return dataclasses.replace(engine_at(tmp_path).config, app_id=app, brokers=[broker], transaction_timeout_s=5.0)


async def started(config, library=None):
    producer = LaneProducer(config, TABLE, 1, library)
    await producer.start()
    return producer


async def offset_is(config, expected):
    """The group's offset: a transaction shows a moment after its commit was confirmed."""

    async def equal():
        found = await committed(config.brokers[0], config.app_id, f"{config.app_id}-source")
        return found == {"1": expected}

    await until(equal, what=f"offset {expected}")


@by_either
@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
async def test_rows_in_order_sends_and_the_offset_of_the_last_row(broker, config, guarantee, library):
    config = dataclasses.replace(config, guarantee=guarantee)
    producer = await started(config, library)
    rows = [(b"%04d" % index, bytes(40_000)) for index in range(60)]  # more than one record batch
    rows += [(b"gone", None), (b"large", bytes(950_000)), (b"last", b"1"), (b"but one", b"2")]
    sends = [
        Send(f"{config.app_id}-sends", b"k", b"v", (("h", b"1"),), 0),
        Send(f"{config.app_id}-sends", None, None, (("h", b"2"), ("null", None)), 0),
        Send(f"{config.app_id}-sends", None, None, (("h", b"3"),)),  # wherever
    ]
    last = await producer.publish(rows, sends, {f"{config.app_id}-source": 7})
    again = await producer.publish([(b"x", b"1")], [], {f"{config.app_id}-source": 8})
    await producer.stop()

    found = await read_all(broker, f"{config.app_id}-{TABLE}-changelog")
    assert [(r.key, r.value) for r in found] == [*rows, (b"x", b"1")]
    assert {r.partition for r in found} == {1}
    assert last == found[-2].offset
    assert again == found[-1].offset
    sent = await read_all(broker, f"{config.app_id}-sends")
    assert [(r.key, r.value, r.headers) for r in sorted(sent, key=lambda r: r.headers)] == [
        (send.key, send.value, send.headers) for send in sends
    ]
    assert {r.partition for r in sent if r.headers != sends[2].headers} == {0}
    if config.exactly_once:
        await offset_is(config, 8)
    else:
        assert await committed(broker, config.app_id, f"{config.app_id}-source") == {}


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
async def test_a_send_the_broker_refuses_is_never_passed_over(broker, config, guarantee):
    config = dataclasses.replace(config, guarantee=guarantee)
    narrow = f"{config.app_id}-narrow"
    async with admin(broker) as client:
        await client.create_topics([NewTopic(narrow, 1, 1, topic_configs={"max.message.bytes": "1000"})])
    producer = await started(config)
    with pytest.raises(MessageSizeTooLargeError):
        await producer.publish([(b"k", b"v")], [Send(narrow, b"k", bytes(5000), (), 0)], {f"{config.app_id}-source": 1})
    await producer.stop()


async def test_at_least_once_no_row_is_there_before_what_its_step_sends(broker, config):
    """Rows say that a step is done: killed in between, it would never send what it had to."""
    producer = await started(dataclasses.replace(config, guarantee="at_least_once"))
    nowhere = f"{config.app_id}-nowhere"
    publishing = asyncio.create_task(producer.publish([(b"k", b"v")], [Send(nowhere, b"letter", b"v", (), 0)], {}))
    await asyncio.sleep(1.5)
    assert not publishing.done()
    assert await read_all(broker, f"{config.app_id}-{TABLE}-changelog") == []
    async with admin(broker) as client:
        await client.create_topics([NewTopic(nowhere, 2, 1)])
    assert await publishing == 0
    await producer.stop()
    assert [r.key for r in await read_all(broker, nowhere)] == [b"letter"]


@by_either
async def test_a_successor_fences_and_what_was_open_is_aborted(broker, config, library):
    zombie = await started(config, library)
    await zombie._producer.begin_transaction()
    await zombie._append(zombie._producer, [(b"open", b"1")], [])
    successor = await started(config)
    await successor.publish([(b"kept", b"1")], [], {f"{config.app_id}-source": 1})
    with pytest.raises(ProducerFenced):
        await zombie._producer.commit_transaction()
    await zombie.stop()
    await successor.stop()
    found = await read_all(broker, f"{config.app_id}-{TABLE}-changelog")
    assert [r.key for r in found] == [b"kept"]


async def test_without_rows_there_is_no_changelog_offset(broker, config):
    producer = await started(config)
    assert await producer.publish([], [], {f"{config.app_id}-source": 3}) is None
    await producer.stop()
    await offset_is(config, 3)


async def test_a_producer_that_cannot_flush_is_really_stopped(config, monkeypatch):
    """Left running, it would deliver its rows when the broker is back: after newer ones of its successor."""
    monkeypatch.setattr("replayer.engine.producer._STOP_S", 0.1)
    producer = await started(config)
    inner = producer._producer
    monkeypatch.setattr(inner._message_accumulator, "flush", lambda: asyncio.sleep(3600))
    sender = inner._sender.sender_task
    async with asyncio.timeout(60):
        await producer.stop()
    assert sender.done()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()  # the flush that hangs


async def test_a_broker_that_is_not_there_is_waited_for_and_the_wait_can_end(config):
    producer = LaneProducer(dataclasses.replace(config, brokers=["127.0.0.1:1"]), TABLE, 0)
    starting = asyncio.create_task(producer.start())
    await asyncio.sleep(0.3)
    assert not starting.done()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
