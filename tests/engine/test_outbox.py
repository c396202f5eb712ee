"""What an outbox makes of a refusal: wait and try again, give the partition up, or say that it is a bug."""

from __future__ import annotations

import asyncio
import dataclasses
from types import SimpleNamespace

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError, TopicAuthorizationFailedError

from replayer.engine.measures import NoMeasures
from replayer.engine.outbox import LaneLost, Outbox
from tests.engine.stores import engine_at


class Refusing:
    """A producer that raises what it is told to, then has the broker's word."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.published, self.stalls, self.starts = list(errors), 0, 0, 0

    async def publish(self, rows, sends, offsets):
        if self.stalls:
            self.stalls -= 1
            await asyncio.Event().wait()
        if self.errors:
            raise self.errors.pop(0)
        self.published += 1
        return 7

    async def start(self):
        self.starts += 1

    async def stop(self):
        pass


class Group:
    silent = 0

    async def is_member(self):
        return True

    async def committed(self, tps):
        if self.silent:
            self.silent -= 1
            await asyncio.Event().wait()
        return dict.fromkeys(tps)


def outbox(tmp_path, *errors):
    engine = SimpleNamespace(config=engine_at(tmp_path).config, metrics=NoMeasures(), consumer=Group())
    box = Outbox(engine, "t", 0)
    box.producer = Refusing(*errors)
    return box


async def test_what_passes_is_tried_again(tmp_path):
    box = outbox(tmp_path, KafkaConnectionError("away"), TimeoutError())
    assert await box.publish([(b"k", b"v")], (), {"s": 3}) == 7
    assert box.producer.published == 1


async def test_a_producer_that_says_nothing_is_replaced(tmp_path):
    """aiokafka's sender can stall in silence: the step is not left waiting beyond the transaction's time-out."""
    box = outbox(tmp_path)
    box.producer.stalls = 2
    box._engine.config = dataclasses.replace(box._engine.config, transaction_timeout_s=0.1)
    async with asyncio.timeout(10):
        assert await box.publish([(b"k", b"v")], (), {"s": 3}) == 7
    assert (box.producer.published, box.producer.starts) == (1, 2)


async def test_offsets_the_broker_does_not_tell_are_asked_for_again(tmp_path, monkeypatch):
    monkeypatch.setattr("replayer.engine.outbox._ANSWER_S", 0.1)
    box = outbox(tmp_path, TimeoutError())
    box._engine.consumer.silent = 2
    async with asyncio.timeout(10):
        assert await box.publish([(b"k", b"v")], (), {"s": 3}) == 7
    assert box.producer.starts == 3, "each time with a producer that settles what is open"


@pytest.mark.parametrize("refusal", [MessageSizeTooLargeError, TopicAuthorizationFailedError])
async def test_what_stays_refused_ends_the_worker_with_a_sentence(tmp_path, refusal):
    box = outbox(tmp_path, refusal())
    with pytest.raises(LaneLost, match=r"max\.message\.bytes"):
        await box.publish([(b"k", b"v")], (), {"s": 3})
    assert box.producer.published == 0


async def test_a_bug_is_not_tried_again(tmp_path):
    box = outbox(tmp_path, TypeError("ours"))
    with pytest.raises(TypeError):
        await box.publish([(b"k", b"v")], (), {"s": 3})
