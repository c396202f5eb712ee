"""One lane against a cluster where transactions fail in every way: each record counts once, or the worker ends."""

from __future__ import annotations

import asyncio
import dataclasses
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replayer.engine.rows import StateUnreadable
from tests.engine.counting import TABLE
from tests.engine.fakes import log_of
from tests.engine.lane_stage import A, B, Stage
from tests.engine.workers import until

PATIENT = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Back-offs of a moment."""
    monkeypatch.setattr("replayer.engine.outbox._BACKOFF_S", 0.0001)


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    return lambda: tmp_path_factory.mktemp("lane")


@PATIENT
@given(st.lists(st.sampled_from(["ok", "lost", "unknown"]), max_size=12), st.lists(st.sampled_from([True, None])))
async def test_exact_whatever_becomes_of_transactions(directories, monkeypatch, mishaps, member):
    stage = Stage(directories(), monkeypatch, {A: log_of(23, "a"), B: log_of(11, "b")}, batch_max_records=6)
    stage.cluster.mishaps, stage.cluster.member = list(mishaps), [*member, True]
    lane = await stage.open()
    await stage.feed(lane, stage.done)
    await lane.close(1.0)
    assert stage.engine.failure is None
    stage.assert_exact()


@PATIENT
@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["ok", "lost", "unknown"])), max_size=5))
async def test_exact_when_closed_and_opened_again_and_again(directories, monkeypatch, turns):
    stage = Stage(directories(), monkeypatch, {A: log_of(40, "a")}, batch_max_records=3)
    for wanted, mishap in turns:
        stage.cluster.mishaps = [mishap]
        lane = await stage.open()
        await stage.feed(lane, lambda wanted=wanted: stage.position(A) >= min(wanted, 40))
        await lane.close(1.0)
    lane = await stage.open()
    await stage.feed(lane, stage.done)
    await lane.close(1.0)
    stage.assert_exact()


async def test_a_step_that_committed_unseen_is_stored_with_the_changelogs_end(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, {A: log_of(3, "a")})
    stage.cluster.mishaps = ["unknown"]
    lane = await stage.open()
    await stage.feed(lane, stage.done)
    await lane.close(1.0)
    stage.assert_exact()
    assert stage.store.applied(0) == len(stage.cluster.changelog) - 1, "the marker of the settled transaction"


async def test_a_worker_the_group_went_on_without_ends(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, {A: log_of(6, "a")})
    stage.cluster.mishaps, stage.cluster.member = ["lost"], [None, None, False]
    lane = await stage.open()
    await stage.feed(lane, lambda: stage.engine.failure)
    assert "the group has gone on without this worker" in stage.engine.failure
    assert stage.stored() == {}
    await lane.close(1.0)


async def test_a_partition_another_worker_wrote_to_is_left(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, {A: log_of(6, "a")})
    stage.cluster.mishaps = ["lost"]
    lane = await stage.open()
    stage.cluster.offsets[A] = 2  # neither where we stood nor where this step would stand
    await stage.feed(lane, lambda: stage.engine.failure)
    assert "another worker has written to it" in stage.engine.failure
    await lane.close(1.0)


async def test_closing_does_not_wait_for_a_broker_that_is_away(tmp_path, monkeypatch):
    monkeypatch.setattr("replayer.engine.outbox._PATIENCE_S", 0.1)
    stage = Stage(tmp_path, monkeypatch, {A: log_of(6, "a")})
    stage.cluster.mishaps, stage.cluster.member = ["lost"], [None]
    lane = await stage.open()
    await stage.feed(lane, lambda: stage.cluster.changelog)
    async with asyncio.timeout(60):
        await lane.close(3600.0)
    assert stage.engine.failure is None


async def test_a_closing_lane_still_learns_that_it_is_a_zombies(tmp_path, monkeypatch):
    """A worker that wakes up too late is told to give its partitions up before it hears that it has lost them."""
    stage = Stage(tmp_path, monkeypatch, {A: log_of(6, "a")})
    stage.cluster.mishaps, stage.cluster.member = ["lost"], [None] * 50 + [False]
    lane = await stage.open()
    await stage.feed(lane, lambda: stage.cluster.changelog)
    await lane.close(60.0)
    assert "the group has gone on without this worker" in stage.engine.failure


async def test_a_step_that_hangs_is_cut_off(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, {A: log_of(6, "a")})
    stage.cluster.mishaps = ["hang"]
    lane = await stage.open()
    await stage.feed(lane, lambda: not stage.cluster.mishaps)
    async with asyncio.timeout(60):
        await lane.close(0.1)
    assert (stage.stored(), stage.engine.failure) == ({}, None)
    lane = await stage.open()
    await stage.feed(lane, stage.done)
    await lane.close(1.0)
    stage.assert_exact()


async def test_a_last_batch_that_got_lost_is_fetched_again(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, {A: log_of(6, "a")})
    lane = await stage.open()
    stage.cluster.fetch(A)  # and nobody delivers it
    lane.look()
    lane.look()
    await stage.feed(lane, stage.done)
    await lane.close(1.0)
    stage.assert_exact()


async def test_a_partition_revoked_during_a_seek_back_is_no_failure(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, {A: log_of(9, "a")})
    lane = await stage.open()
    _, second, *_ = stage.cluster.fetch(A)
    stage.cluster.assigned = False
    lane.deliver(second)
    await until(lambda: stage.engine.metrics.seen)
    await asyncio.sleep(0.05)
    assert stage.engine.metrics.seen == {"sought_back": 1}, "it does not try without end"
    await lane.close(1.0)
    assert stage.engine.failure is None


async def test_another_log_ends_the_worker_with_advice(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, {A: log_of(6, "a")})
    lane = await stage.open()
    await stage.feed(lane, stage.done)
    await lane.close(1.0)
    before = stage.stored()
    stage.cluster.logs[A] = log_of(9, "a", keys=2)
    lane = await stage.open()
    await stage.feed(lane, lambda: stage.engine.failure)
    assert "topic a is not the log this table was made from: the record at offset 5" in stage.engine.failure
    assert "REPLAYER_APP_ID" in stage.engine.failure
    assert stage.stored() == before
    await lane.close(1.0)


async def test_an_unreadable_database_is_set_aside_and_ends_the_worker(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, {A: log_of(6, "a")})
    lane = await stage.open()

    def unreadable(rows, records, partition, now_ms):
        raise rows._tell(StateUnreadable("Corruption: block checksum mismatch")) or StateUnreadable("Corruption")

    stage.engine.specs[TABLE] = lane._spec = type(lane._spec)(
        TABLE, ("a",), 1, unreadable, lambda *_: pytest.fail("the records are not at fault")
    )
    await stage.feed(lane, lambda: stage.engine.failure)
    assert "cannot be read" in stage.engine.failure
    assert "rebuilt from its changelog" in stage.engine.failure
    assert stage.engine.metrics.seen == {"set_aside_damaged": 1}
    assert stage.cluster.sends == []
    await lane.close(1.0)


@pytest.mark.parametrize("when", ["in the fold", "while it is published"])
async def test_a_database_set_aside_under_a_step_is_not_taken_for_whole(tmp_path, monkeypatch, when):
    """Between two turns of a step a view meets damage. No record is at fault, and what stands in for the database
    afterwards never passes for the table.
    """
    stage = Stage(tmp_path, monkeypatch, {A: log_of(50, "a")})
    spec, asked = stage.engine.specs[TABLE], asyncio.Event()

    def slow(rows, records, partition, now_ms):
        folding = spec.fold(rows, records, partition, now_ms)
        while True:
            time.sleep(0.006)
            rows.get_many([b"x"])
            try:
                yield next(folding)
            except StopIteration as ended:
                return ended.value
            asked.set()

    lane = await stage.open()
    await stage.feed(lane, lambda: stage.position(A) >= 20)
    if when == "in the fold":
        lane._spec = dataclasses.replace(spec, fold=slow)
    else:
        publish = lane.outbox.producer.publish

        async def late(rows, sends, offsets):
            asked.set()
            await asyncio.sleep(0.1)
            return await publish(rows, sends, offsets)

        lane.outbox.producer.publish = late
    asked.clear()
    for batch in stage.cluster.fetch(A):
        lane.deliver(batch)
    await asyncio.wait_for(asked.wait(), 20)
    stage.engine.reading(TABLE, 0)._tell(StateUnreadable("Corruption: block checksum mismatch"))
    stage.store._db_for_partition(0)  # as whoever asks Faust for an offset opens it
    await asyncio.wait([lane._task], timeout=20)
    await lane.close(1.0)
    assert "cannot be read" in stage.engine.failure
    assert stage.cluster.sends == [], "no dead letter"
    assert stage.stored() == {}, "the new database has no part of the table"
    stage.recover()
    assert stage.stored() == stage.cluster.rows()
