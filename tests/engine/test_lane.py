"""One lane against a cluster where transactions fail in every way: each record counts once, or the worker ends."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re

import pytest
from faust.types import TP
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replayer.core.gaps import described
from replayer.core.outcome import Folded
from replayer.engine.batch import Batch
from replayer.engine.engine import Engine
from replayer.engine.lane import Lane
from replayer.engine.position import Position, position_key
from replayer.engine.rows import StateUnreadable
from tests.drawn import MemoryRows
from tests.engine.counting import POISON, TABLE
from tests.engine.fakes import CHANGELOG, Cluster, log_of
from tests.engine.records import Rec
from tests.engine.test_store import engine_at
from tests.engine.workers import until

A, B = TP("a", 0), TP("b", 0)
PATIENT = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Back-offs of a moment, and a failure that does not end the test's own process."""
    monkeypatch.setattr("replayer.engine.outbox._BACKOFF_S", 0.0001)
    monkeypatch.setattr("replayer.engine.engine.end_hard_after", lambda _: None)


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    return lambda: tmp_path_factory.mktemp("lane")


class Stage:
    """A lane opened on an empty table, its sources and its cluster."""

    def __init__(self, path, monkeypatch, logs, **options) -> None:
        self.engine: Engine = engine_at(path, sources=[tp.topic for tp in logs], **options)
        self.cluster = Cluster(self.engine, monkeypatch, logs)
        self.store = self.engine.store(TABLE)
        self.store._db_for_partition(0)

    def recover(self):
        """What Faust and `replayer.engine.recovery` do before a lane opens."""
        rows = [(offset, *entry) for offset, entry in enumerate(self.cluster.changelog) if entry is not None]
        records = [Rec(offset, value, key) for offset, key, value in rows]
        self.store.apply(Batch(CHANGELOG, 0, records, 0, len(self.cluster.changelog), 0))

    async def open(self) -> Lane:
        self.recover()
        lane = Lane(self.engine, self.engine.specs[TABLE], 0, self.store)
        lane.outbox.producer = self.cluster.producer()
        await lane.outbox.producer.start()
        seeks = await lane.open()
        for tp, epoch in (await self.cluster.seek_to(seeks)).items():
            lane.sought(tp, epoch)
        lane.start()
        return lane

    async def feed(self, lane, until, seconds=20.0):
        """Deliver what a fetch brings until the condition holds."""
        async with asyncio.timeout(seconds):
            while not until():
                for tp in self.cluster.logs:
                    if tp not in self.cluster.suspended:
                        for batch in self.cluster.fetch(tp, count=5):
                            lane.deliver(batch)
                await asyncio.sleep(0.001)

    def stored(self):
        return {key: value for key, value in self.store._dbs[0].items() if not key.startswith(b"__")}

    def position(self, tp):
        value = self.store._dbs[0].get(position_key(tp.topic))
        return Position.decode(value).next if value else 0

    def done(self):
        return all(self.position(tp) == log.end for tp, log in self.cluster.logs.items())

    def heads(self):
        return [json.loads(value) for key, value in self.stored().items() if key.startswith(b"h")]

    def assert_exact(self):
        records = sum(len(log.records) for log in self.cluster.logs.values())
        assert sum(head["counted"] for head in self.heads()) == records
        assert sum(head["folded"] for head in self.heads()) == records
        assert sum(key.startswith(b"e") for key in self.stored()) == records
        assert self.cluster.rows() == self.stored(), "the changelog and the store say the same"
        if self.engine.config.exactly_once:
            assert self.cluster.offsets == {tp: log.end for tp, log in self.cluster.logs.items()}


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


async def test_rows_come_before_the_positions_that_stand_for_them(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, {A: log_of(7, "a"), B: log_of(5, "b")}, batch_max_records=4)
    lane = await stage.open()
    await stage.feed(lane, stage.done)
    await lane.close(1.0)
    steps = "".join("|" if entry is None else chr(entry[0][0]) for entry in stage.cluster.changelog)
    assert all(re.fullmatch("e+h+p+", step) for step in steps.strip("|").split("|")), steps


async def test_at_least_once_no_offset_is_for_commit_before_its_step_is_durable(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, {A: log_of(6, "a")}, guarantee="at_least_once")
    stage.cluster.mishaps = ["hang"]
    lane = await stage.open()
    await stage.feed(lane, lambda: not stage.cluster.mishaps)
    await stage.engine.commit()
    assert stage.cluster.offsets == {}
    await lane.close(0.01)
    lane = await stage.open()
    await stage.feed(lane, stage.done)
    await stage.engine.commit()
    assert stage.cluster.offsets == {A: 6}
    await lane.close(1.0)


async def test_expired_records_are_a_gap_row_of_the_step_behind_them(tmp_path, monkeypatch):
    log = log_of(9, "a")
    log.records, log.start = log.records[5:], 5
    stage = Stage(tmp_path, monkeypatch, {A: log})
    lane = await stage.open()
    await stage.feed(lane, stage.done)
    await lane.close(1.0)
    stage.assert_exact()
    (lost,) = described(MemoryRows(stage.stored()), 0)
    assert (lost["topic"], lost["start"], lost["end"]) == ("a", 0, 5)


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


async def test_one_step_takes_what_all_sources_have_waiting(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, {A: log_of(5, "a"), B: log_of(4, "b")})
    lane = await stage.open()
    for tp in (A, B):
        for batch in stage.cluster.fetch(tp):
            lane.deliver(batch)
    await until(stage.done)
    await lane.close(1.0)
    assert stage.cluster.steps == [{"a": 5, "b": 4}]


@pytest.mark.parametrize(
    ("bounds", "steps"),
    [
        ({"batch_max_records": 10}, [9, 18, 27, 36, 39]),  # batches of three: a fourth would be too much
        ({"batch_max_bytes": 5}, [6, 12, 18, 24, 30, 36, 39]),  # the batch that goes above ends the step
    ],
)
async def test_steps_fill_up_to_their_bounds(tmp_path, monkeypatch, bounds, steps):
    log = log_of(39, "a")
    log.records = [Rec(r.offset, b"v", r.key, "a") for r in log.records]
    stage = Stage(tmp_path, monkeypatch, {A: log})
    stage.engine.config = dataclasses.replace(stage.engine.config, **bounds)
    lane = await stage.open()
    for batch in stage.cluster.fetch(A, count=39):
        lane.deliver(batch)
    await until(stage.done)
    await lane.close(1.0)
    assert [step["a"] for step in stage.cluster.steps] == steps


async def test_partitions_are_folded_side_by_side(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, {A: log_of(3, "a")})
    stuck = await stage.open()
    stage.cluster.mishaps = ["hang"]
    await stage.feed(stuck, lambda: not stage.cluster.mishaps)
    stage.store._db_for_partition(1)
    other = Lane(stage.engine, stage.engine.specs[TABLE], 1, stage.store)
    other.outbox.producer = stage.cluster.producer()
    await other.outbox.producer.start()
    await other.open()
    other.start()
    other.deliver(Batch("a", 1, [Rec(0, topic="a", partition=1)], 0, 1, 0))
    await until(lambda: stage.store._dbs[1].get(position_key("a")), what="the other partition is folded meanwhile")
    assert stage.stored() == {}
    await asyncio.gather(other.close(1.0), stuck.close(0.01))


async def test_no_clock_stands_between_an_event_and_its_row(tmp_path, monkeypatch):
    """Alone, an event waits for its transaction and for nothing else."""
    stage, timers = Stage(tmp_path, monkeypatch, {A: log_of(2, "a")}), []
    lane = await stage.open()
    await asyncio.sleep(0.01)  # it is idle
    loop = asyncio.get_running_loop()
    with monkeypatch.context() as timeless:
        for name in ("call_later", "call_at"):
            timeless.setattr(loop, name, lambda *arguments, **_: timers.append(arguments))
        for batch in stage.cluster.fetch(A):
            lane.deliver(batch)
        for _ in range(100):
            await asyncio.sleep(0)
    assert stage.done()
    assert timers == []
    await lane.close(1.0)


async def test_sources_take_turns(tmp_path, monkeypatch):
    """One source far behind must not keep the other waiting."""
    stage = Stage(tmp_path, monkeypatch, {A: log_of(300, "a"), B: log_of(3, "b")}, batch_max_records=10)
    lane = await stage.open()
    for tp, most in ((A, 10), (B, 10)):
        for batch in stage.cluster.fetch(tp, count=300, max_records=most):
            lane.deliver(batch)
    await until(stage.done)
    await lane.close(1.0)
    assert any(step.get("b") == 3 for step in stage.cluster.steps[:2]), stage.cluster.steps[:5]


async def test_a_full_inbox_suspends_fetching_until_half_is_done(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, {A: log_of(60, "a")}, batch_max_records=3)
    lane = await stage.open()
    for batch in stage.cluster.fetch(A, count=60)[:4]:
        lane.deliver(batch)
    assert stage.cluster.suspended == {A}
    stage.cluster.suspended.clear()  # Faust resumed it
    stage.cluster.nexts[A] = 12
    lane.deliver(stage.cluster.fetch(A, count=3)[0])
    assert stage.cluster.suspended == {A}, "and is told again"
    await stage.feed(lane, lambda: stage.position(A) >= 12)
    assert stage.cluster.suspended == set()
    await lane.close(1.0)


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


async def test_poison_is_a_dead_letter_and_its_neighbours_count(tmp_path, monkeypatch):
    log = log_of(5, "a")
    log.records[2] = Rec(2, POISON, b"k0", "a")
    stage = Stage(tmp_path, monkeypatch, {A: log})
    stage.cluster.mishaps = ["unknown"]
    lane = await stage.open()
    await stage.feed(lane, stage.done)
    await lane.close(1.0)
    assert [(send.topic, send.value) for send in stage.cluster.sends] == [("dead", POISON)]
    assert sum(head["counted"] for head in stage.heads()) == 4


async def test_a_fold_without_rows_still_moves_the_position(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, {A: log_of(6, "a")})
    lane = await stage.open()
    lane._spec = type(lane._spec)(TABLE, ("a",), 1, lambda *_: Folded(), lambda *_: None)
    await stage.feed(lane, stage.done)
    await lane.close(1.0)
    assert list(stage.stored()) == [position_key("a")]
