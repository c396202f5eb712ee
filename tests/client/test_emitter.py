"""The emitter never keeps its caller waiting, and says what becomes of each event."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from datetime import UTC, datetime

import pytest
from aiokafka import TopicPartition
from pydantic import ValidationError

from replayer.client import Dropped, Emitter
from replayer.kafka.admin import LogAdmin
from replayer.kafka.broker import EmbeddedBroker
from replayer.kafka.partitioner import partition_of
from replayer.kafka.ports import free_port
from replayer.kafka.reader import LogReader
from topics.catalogue import POLICY_EVENTS, WORKFLOW_EVENTS
from topics.codec import decode
from topics.families.policy import PolicyEvaluated
from topics.families.workflow import RequestReceived, ResponseGenerated
from topics.fields import micros

SAID = PolicyEvaluated(policy_id="pii", outcome="allow")
TRACE = "00-" + "a1" * 16 + "-" + "b2" * 8 + "-01"


def nobody() -> list[str]:
    """Where no broker listens."""
    return [f"127.0.0.1:{free_port('127.0.0.1')}"]


def emitter(brokers, **more):
    return Emitter(brokers, source="svc", tenant_id="acme", agent_id="a", **more)


def test_without_a_broker_nobody_waits_and_the_newest_are_dropped(caplog):
    told: list[Dropped] = []
    caplog.set_level(logging.WARNING, "replayer.client")
    with emitter(nobody(), capacity=100, on_drop=told.append) as events:
        slowest = 0.0
        for number in range(300):
            began = time.perf_counter()
            events.emit(SAID, workflow_id="w", event_id=f"e{number}")
            slowest = max(slowest, time.perf_counter() - began)
        assert slowest < 0.5
        assert (events.waiting, events.dropped) == (100, {"full": 200})
        assert told[0] == Dropped("full", "policy.evaluated", "e100", "w")
        left = events.close(0.5)
    assert left == 100
    assert events.dropped == {"full": 200, "undelivered": 100}
    assert {one.event_id for one in told} == {f"e{number}" for number in range(300)}
    assert "events were dropped" in caplog.text
    assert "full 200" in caplog.text


def test_after_close_nothing_is_taken():
    events = emitter(nobody())
    events.start()
    events.close(0.1)
    events.emit(SAID, workflow_id="w")
    assert events.dropped == {"undelivered": 1}


def test_what_was_emitted_before_it_was_started_is_counted_when_it_is_closed():
    events = emitter(nobody())
    events.emit(SAID, workflow_id="w")
    assert events.close(0.1) == 1
    assert (events.waiting, events.dropped) == (0, {"undelivered": 1})


def test_closed_at_once_it_ends_in_time():
    for _ in range(20):
        events = emitter(nobody())
        events.emit(SAID, workflow_id="w")
        events.start()
        began = time.monotonic()
        assert events.close(0.2) == 1
        assert time.monotonic() - began < 2.0
        assert not events._thread.is_alive()


def test_whoever_emits_while_it_is_closed_every_event_is_counted():
    told: list[Dropped] = []
    events = emitter(nobody(), on_drop=told.append)
    events.start()
    ids: list[str] = []
    stop = threading.Event()

    def emit() -> None:
        while not stop.is_set():
            ids.append(events.emit(SAID, workflow_id="w"))

    threads = [threading.Thread(target=emit) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    events.close(0.2)
    stop.set()
    for thread in threads:
        thread.join()
    assert sorted(one.event_id for one in told) == sorted(ids)
    assert (sum(events.dropped.values()), events.waiting) == (len(ids), 0)


def test_what_is_too_large_is_dropped_and_not_repeated(caplog):
    told: list[Dropped] = []
    with emitter(nobody(), max_record_bytes=2000, on_drop=told.append) as events:
        events.emit(RequestReceived(text="canary" * 500), workflow_id="w", event_id="e")
        assert events.dropped == {"too_large": 1}
        events.close(0.1)
    assert "canary" not in caplog.text + str(told)


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [({"workflow_id": ""}, ValidationError), ({"workflow_id": "w", "traceparent": "00-x"}, ValueError),
     ({"workflow_id": "w", "decision_id": "\0"}, ValidationError)],
)  # fmt: skip
def test_a_bug_of_the_caller_is_told_where_it_is(wrong, kind):
    with pytest.raises(kind):
        emitter(nobody()).emit(SAID, **wrong)


def test_a_field_that_nobody_knows_is_no_field():
    with pytest.raises(TypeError, match="decison_id"):
        emitter(nobody()).emit(SAID, workflow_id="w", decison_id="d")


def test_ids_are_made_in_the_order_of_time():
    events = emitter(nobody())
    first = uuid.UUID(events.emit(SAID, workflow_id="w"))
    time.sleep(0.005)
    second = uuid.UUID(events.emit(SAID, workflow_id="w"))
    assert (first.version, first.variant) == (7, uuid.RFC_4122)
    assert str(first) < str(second)


@pytest.fixture(scope="module")
def own():
    """A broker of its own: the emitter knows the product's topics only."""
    with EmbeddedBroker() as broker:
        asyncio.run(_create(broker.bootstrap))
        yield broker


async def _create(bootstrap):
    async with LogAdmin([bootstrap]) as admin:
        await admin.create([WORKFLOW_EVENTS, POLICY_EVENTS], 1)


async def read(bootstrap, topic):
    partitions = [TopicPartition(topic, number) for number in range(4)]
    async with LogAdmin([bootstrap]) as admin, LogReader([bootstrap]) as reader:
        ends = await admin.end_offsets(partitions)
        return [r async for batch in reader.read({tp: (0, ends[tp]) for tp in partitions}) for r in batch.records]


def test_events_arrive_keyed_stamped_and_in_their_order(own):
    before = datetime.now(UTC)
    with emitter([own.bootstrap]) as events:
        ids = [
            events.emit(SAID, workflow_id=f"w{number % 3}", decision_id="d", agent_id=f"a{number}", traceparent=TRACE)
            for number in range(300)
        ]
        assert events.close(30) == 0
    assert (events.delivered, events.waiting, events.dropped) == (300, 0, {})
    records = asyncio.run(read(own.bootstrap, POLICY_EVENTS.name))
    found = {one.event_id: (record, one) for record in records for one in (decode(record.value),)}
    assert found.keys() == set(ids)
    for number, event_id in enumerate(ids):
        record, event = found[event_id]
        assert (record.key, record.partition) == (event.workflow_id.encode(), partition_of(record.key, 4))
        assert dict(record.headers) == {"traceparent": TRACE.encode()}
        assert (event.trace_id, event.span_id) == ("a1" * 16, "b2" * 8)
        assert (event.workflow_id, event.tenant_id, event.source) == (f"w{number % 3}", "acme", "svc")
        assert (event.agent_id, event.decision_id) == (f"a{number}", "d")
        assert micros(before) <= event.occurred_us <= micros(datetime.now(UTC))
    for workflow in ("w0", "w1", "w2"):
        order = [decode(record.value).event_id for record in records if record.key == workflow.encode()]
        assert order == [one for one in ids if found[one][1].workflow_id == workflow]


def test_a_broker_that_is_away_for_a_while_costs_no_event(own):
    with emitter([own.bootstrap]) as events:
        ids = [events.emit(ResponseGenerated(), workflow_id="w") for _ in range(100)]
        own.kill()
        ids += [events.emit(ResponseGenerated(), workflow_id="w") for _ in range(400)]
        own.start()
        assert events.close(60) == 0
    records = asyncio.run(read(own.bootstrap, WORKFLOW_EVENTS.name))
    assert [decode(record.value).event_id for record in records] == ids


def test_a_broker_that_does_not_come_back_leaves_each_event_counted():
    """More than the producer has room for: it waits for it, and is cut off in time."""
    with EmbeddedBroker() as broker:
        asyncio.run(_create(broker.bootstrap))
        told: list[Dropped] = []
        with emitter([broker.bootstrap], on_drop=told.append) as events:
            first = events.emit(SAID, workflow_id="w")
            deadline = time.monotonic() + 30
            while events.delivered == 0 and time.monotonic() < deadline:
                time.sleep(0.05)
            broker.kill()
            large = RequestReceived(text="x" * 10_000)
            ids = [events.emit(large, workflow_id="w") for _ in range(300)]
            time.sleep(0.5)
            began = time.monotonic()
            assert events.close(1.0) == 300
            assert time.monotonic() - began < 6.0
        assert (events.delivered, events.waiting) == (1, 0)
        assert sorted(one.event_id for one in told) == sorted(ids)
        assert {one.reason for one in told} == {"undelivered"}
        assert first not in ids


def test_many_threads_may_emit(own):
    with emitter([own.bootstrap], capacity=100_000) as events:
        threads = [
            threading.Thread(target=lambda: [events.emit(SAID, workflow_id="t") for _ in range(500)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert events.close(30) == 0
    assert events.delivered == 4000
