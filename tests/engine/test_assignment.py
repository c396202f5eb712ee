"""Taking over, opening and closing, in every order Faust may call for it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from faust.types import TP

from replayer.core.errors import ReplayerError
from replayer.engine.consumer import BatchConsumer
from replayer.engine.position import Position, fingerprint, position_key
from tests.engine.counting import TABLE
from tests.engine.fakes import CHANGELOG, Cluster, log_of
from tests.engine.stores import engine_at, written
from tests.engine.workers import until

MINE = TP(CHANGELOG, 0)
A = TP("a", 0)


class Stage:
    def __init__(self, path, monkeypatch):
        self.engine = engine_at(path, sources=["a"])
        self.cluster = Cluster(self.engine, monkeypatch, {A: log_of(6, "a")})
        self.made = []

        def producer(config, table, partition, library):
            self.made.append(self.cluster.producer())
            return self.made[-1]

        monkeypatch.setattr("replayer.engine.outbox.LaneProducer", producer)
        monkeypatch.setattr("replayer.engine.engine.end_hard_after", lambda _: None)
        monkeypatch.setattr(self.engine, "actives", lambda: {MINE, A})
        monkeypatch.setattr(self.engine, "standbys", set)
        self.store = self.engine.store(TABLE)

    async def open(self, generation=1):
        await self.engine.take_over(generation)
        self.engine.recovered(generation)
        await self.engine.opened()

    def left(self, rows, offset):
        """What an earlier life of this worker has stored."""
        self.store._db_for_partition(0)
        written(self.store, 0, rows, offset)

    @property
    def is_open(self):
        return self.engine.active(TABLE) == {0}


@pytest.fixture
def stage(tmp_path, monkeypatch):
    return Stage(tmp_path, monkeypatch)


async def test_lanes_are_open_from_recovery_to_revocation(stage):
    await stage.engine.take_over(1)
    assert stage.made[0].started, "fenced before recovery"
    assert not stage.is_open
    assert stage.engine.rows(TABLE, 0) is None, "not recovered: not to be looked at"
    stage.engine.recovered(1)
    await stage.engine.opened()
    assert stage.is_open
    assert stage.engine.rows(TABLE, 0) is not None
    assert stage.engine.rows(TABLE, 1) is None
    for batch in stage.cluster.fetch(A):
        stage.engine.deliver(batch)
    await until(lambda: stage.cluster.offsets.get(A) == 6, what="the records are folded")
    await stage.engine.close_lanes()
    assert not stage.is_open
    assert stage.engine.rows(TABLE, 0) is None
    assert not stage.made[0].started


async def test_lag_is_known_of_what_is_owned(stage):
    async def measured():
        await stage.engine.measure_lag()
        return stage.engine.metrics.lags

    assert await measured() == {}
    await stage.open()
    assert await measured() == {(TABLE, "a", 0): 6}
    for batch in stage.cluster.fetch(A, count=4):
        stage.engine.deliver(batch)
    await until(lambda: stage.cluster.offsets.get(A) == 4, what="the records are folded")
    assert await measured() == {(TABLE, "a", 0): 2}
    await stage.engine.close_lanes()
    assert await measured() == {}


async def test_called_twice_the_second_generation_stands(stage):
    await stage.open(1)
    await stage.open(2)
    assert stage.is_open
    assert [producer.started for producer in stage.made] == [False, True]
    await stage.engine.stop()


@pytest.mark.parametrize("late", [1, 3])
async def test_the_end_of_another_generations_recovery_opens_nothing(stage, late):
    await stage.engine.take_over(2)
    stage.engine.recovered(late)
    await stage.engine.opened()
    assert not stage.is_open
    await stage.engine.stop()


async def test_what_comes_after_a_revocation_opens_nothing(stage):
    await stage.engine.take_over(1)
    await stage.engine.close_lanes()
    stage.engine.recovered(1)
    await stage.engine.opened()
    assert not stage.is_open


async def test_whoever_waits_for_the_opening_may_give_up(stage, monkeypatch):
    """Faust gives up after a time-out, or when another rebalance begins."""
    gate = asyncio.Event()
    ask = stage.cluster.committed

    async def slowly(tps):
        await gate.wait()
        return await ask(tps)

    monkeypatch.setattr(stage.cluster, "committed", slowly)
    await stage.engine.take_over(1)
    stage.engine.recovered(1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stage.engine.opened(), 0.05)
    gate.set()
    await stage.engine.opened()
    assert stage.is_open
    await stage.engine.stop()


async def test_an_opening_that_hangs_does_not_hold_up_a_rebalance(stage, monkeypatch):
    ask = stage.cluster.committed
    monkeypatch.setattr(stage.cluster, "committed", lambda _: asyncio.sleep(3600))
    await stage.engine.take_over(1)
    stage.engine.recovered(1)
    await asyncio.sleep(0.01)
    async with asyncio.timeout(60):
        await stage.engine.close_lanes()
        monkeypatch.setattr(stage.cluster, "committed", ask)
        await stage.open(2)
    assert stage.is_open
    assert stage.engine.failure is None
    await stage.engine.stop()


async def test_stopping_does_not_wait_for_producers_that_wait_for_the_broker(stage, monkeypatch):
    monkeypatch.setattr("tests.engine.fakes.Producer.start", lambda _: asyncio.sleep(3600))
    taking = asyncio.create_task(stage.engine.take_over(1))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(60):
        await stage.engine.stop()
        await taking
    await stage.engine.take_over(2)
    assert len(stage.made) == 1, "nothing is taken over by a worker that stops"


async def test_a_recovery_that_ended_short_is_refused(stage):
    stage.cluster.changelog = [(b"a", b"1"), (b"b", b"2"), None]
    stage.left([(b"a", b"1")], 0)
    await stage.open()
    assert not stage.is_open
    assert f"recovery of {CHANGELOG} partition 0 ended before offset 3; start the worker again" in stage.engine.failure


async def test_an_emptied_changelog_needs_no_recovery(stage, monkeypatch):
    stage.cluster.changelog = [(b"a", b"1"), None]

    async def all_deleted(*tps):
        return dict.fromkeys(tps, 2)

    monkeypatch.setattr(stage.cluster, "earliest_offsets", all_deleted)
    await stage.open()
    assert stage.is_open
    await stage.engine.stop()


async def test_state_ahead_of_its_changelog_is_set_aside(stage):
    stage.left([(b"a", b"1")], 7)
    await stage.open()
    assert stage.engine.metrics.seen == {"set_aside_ahead": 1}
    assert stage.engine.rows(TABLE, 0).get(b"a") is None
    await stage.engine.stop()


def stand(stage, position):
    stage.cluster.changelog = [None]
    stage.left([(position_key("a"), position)], 0)


async def test_a_position_above_the_sources_end_is_refused_though_the_last_record_is_there(stage):
    last = stage.cluster.logs[A].records[5]
    stand(stage, Position(9, 5, fingerprint(last)).encode())  # 6 to 8 were markers, and the log ends at 6 now
    await stage.open()
    assert not stage.is_open
    assert "topic a partition 0 ends at offset 6, below 9 where the table stands" in stage.engine.failure
    assert stage.cluster.seeks == []


async def test_a_position_of_a_newer_format_ends_the_worker_with_advice(stage):
    stand(stage, b"\x09" + Position(1, 0, bytes(16)).encode()[1:])
    await stage.open()
    assert not stage.is_open
    assert "A position row has format 9" in stage.engine.failure


async def test_partitions_revoked_while_they_are_opened_are_no_failure(stage):
    stage.cluster.assigned = False
    await stage.open()
    assert not stage.is_open
    assert stage.engine.failure is None


async def test_a_worker_without_partitions_is_ready(stage, monkeypatch):
    monkeypatch.setattr(stage.engine, "actives", set)
    await stage.open()
    stage.engine.app.rebalancing = False
    assert stage.engine.ready
    assert stage.engine.active(TABLE) == set()


async def test_closing_does_not_wait_for_a_commit_that_hangs(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch)
    monkeypatch.setattr("replayer.engine.assignment._COMMIT_S", 0.05)
    monkeypatch.setattr(stage.engine, "commit", lambda: asyncio.sleep(3600))
    await stage.open()
    async with asyncio.timeout(60):
        await stage.engine.close_lanes()


@pytest.mark.parametrize("call", ["on_partitions_assigned", "on_partitions_revoked"])
async def test_what_fails_in_a_rebalance_ends_the_worker(tmp_path, monkeypatch, call):
    """aiokafka would log it and go on: a worker that holds its partitions and does nothing."""
    monkeypatch.setattr("replayer.engine.engine.end_hard_after", lambda _: None)
    engine = engine_at(tmp_path)

    async def fails(*_):
        raise ReplayerError("the database is in use")

    monkeypatch.setattr(engine, "take_over", fails)
    monkeypatch.setattr(engine, "close_lanes", fails)
    try:
        with pytest.raises(ReplayerError):
            await getattr(engine.consumer, call)({A})
    finally:
        engine.consumer._thread.thread_loop.close()
    assert engine.failure.endswith("the database is in use")


async def test_what_is_revoked_must_be_sought_again(tmp_path, monkeypatch):
    engine = engine_at(tmp_path)

    async def done(*_):
        pass

    monkeypatch.setattr(engine, "close_lanes", done)
    monkeypatch.setattr("faust.transport.drivers.aiokafka.Consumer.on_partitions_revoked", done)
    thread = engine.consumer._thread
    thread._next.update({A: 5, MINE: 7})
    await engine.consumer.on_partitions_revoked({A})
    assert (thread.reached(A), thread.reached(MINE)) == (None, 7)
    thread.thread_loop.close()


async def test_what_an_older_generation_fetched_is_dropped():
    """Behind a rebalance it would be taken for the new owner's; its offsets are remembered nowhere."""
    delivered, turns = [], [False]
    arrived = [SimpleNamespace(generation_id=number) for number in (3, 4, 3, 4)]

    async def arriving(timeout):
        turns[0] = True
        for message in arrived:
            yield A, message

    async def nothing(*_):
        pass

    consumer = SimpleNamespace(
        _stopped=SimpleNamespace(is_set=lambda: turns[0]), getmany=arriving, sleep=nothing, wait_first=nothing,
        should_stop=False, app=SimpleNamespace(consumer_generation_id=4), callback=delivered.append,
        suspend_flow=SimpleNamespace(wait=lambda: None),
    )  # fmt: skip
    await BatchConsumer._drain_messages(consumer, SimpleNamespace(_stopped=SimpleNamespace(is_set=lambda: False)))
    assert delivered == [arrived[1], arrived[3]]


async def test_a_group_that_ended_membership_ends_the_worker(tmp_path, monkeypatch):
    monkeypatch.setattr("replayer.engine.engine.end_hard_after", lambda _: None)
    engine = engine_at(tmp_path)
    cluster = Cluster(engine, monkeypatch)
    cluster.group_error = lambda: "FencedInstanceId"
    engine._look()
    assert "does not go on with this worker (FencedInstanceId)" in engine.failure


def test_an_idle_worker_never_leaves_the_group_by_itself(tmp_path):
    """aiokafka's max.poll.interval counts fetches; a worker without partitions makes none and would never rejoin."""
    assert engine_at(tmp_path).app.conf.broker_max_poll_interval > 365 * 86_400
