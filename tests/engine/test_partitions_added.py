"""Partitions added to a topic under running workers: they end and say what to do, and fold nothing wrong meanwhile."""

from __future__ import annotations

import pytest
from aiokafka.admin import NewPartitions

from replayer.core.outcome import Folded
from replayer.engine.config import TableSpec
from replayer.engine.partitions import added
from tests.engine.workers import PARTITIONS, Field, admin

MORE = PARTITIONS + 2


def test_partitions_added_to_a_foreign_topic_are_taken_up_at_the_next_start():
    spec = TableSpec("relay-calls", ("calls",), 3, lambda *_: nothing(), lambda *_: None, feeds=("rekeyed-events",))
    assert added([spec], lambda name: f"{name}-changelog", {"calls": 3}.get) is None
    said = added([spec], lambda name: f"{name}-changelog", {"calls": 5}.get)
    assert said is not None
    assert "Topic calls has 5 partitions now, and 3 are read: the worker ends to be started again" in said


def nothing():
    return Folded()
    yield


@pytest.mark.parametrize("where", ["source", "changelog"])
async def test_workers_end_and_name_the_topic(broker, unique, tmp_path, where):
    async with Field(broker, unique("added"), tmp_path, metadata_max_age_s=1.0) as field:
        workers = [field.worker("w1"), field.worker("w2")]
        await field.send(200)
        await field.all_counted()
        topic = field.sources[1] if where == "source" else field.changelog
        async with admin(broker) as client:
            await client.create_partitions({topic: NewPartitions(MORE)})

        for worker in workers:
            assert await worker.ended() == 1
            assert f"Topic {topic} has {MORE} partitions, and the topics it is read together with have" in worker.log
            assert ("Copy its records, by key" in worker.log) is (where == "source")
            assert "REPLAYER_APP_ID" in worker.log
