"""What a lane takes into one step, what the step leaves behind, and what it waits for."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time

import pytest

from replayer.core.gaps import described
from replayer.core.outcome import Folded
from replayer.engine.batch import Batch
from replayer.engine.lane import Lane
from replayer.engine.position import position_key
from tests.drawn import MemoryRows
from tests.engine.counting import POISON, TABLE
from tests.engine.fakes import log_of
from tests.engine.lane_stage import A, B, Stage
from tests.engine.records import Rec
from tests.engine.workers import until


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
        ({"batch_max_records": 10}, [10, 20, 30, 39]),  # of the fourth batch of three, one
        ({"batch_max_bytes": 10}, [6, 12, 18, 24, 30, 36, 39]),  # the batch that goes above ends the step
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


class Full:
    """A database that has room for rows only when told so."""

    def __init__(self, db):
        self._db, self.room, self.refused = db, False, 0

    def write(self, batch):
        if not self.room:
            self.refused += 1
            raise Exception("Result incomplete: Write stall")
        self._db.write(batch)

    def __getattr__(self, name):
        return getattr(self._db, name)


async def test_a_partition_that_waits_for_its_disk_keeps_nobody_waiting(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, {A: log_of(3, "a")})
    stage.recover()
    full = stage.store._dbs[0] = Full(stage.store._dbs[0])
    monkeypatch.setattr(stage, "recover", lambda: None)
    lane = await stage.open()
    for batch in stage.cluster.fetch(A):
        lane.deliver(batch)
    await until(lambda: full.refused > 2, what="refused, and others had their turn between")
    full.room = True
    await until(stage.done)
    await lane.close(1.0)
    stage.assert_exact()


async def test_no_clock_stands_between_an_event_and_its_row(tmp_path, monkeypatch):
    """Alone, an event waits for its transaction and for nothing else: what is timed is only how long that may take."""
    stage, timers = Stage(tmp_path, monkeypatch, {A: log_of(2, "a")}), []
    lane = await stage.open()
    await asyncio.sleep(0.01)  # it is idle
    loop = asyncio.get_running_loop()
    with monkeypatch.context() as timeless:
        now, longest = loop.time(), stage.engine.config.transaction_timeout_s
        timeless.setattr(loop, "call_later", lambda delay, *_, **__: timers.append(delay))
        timeless.setattr(loop, "call_at", lambda when, *_, **__: timers.append(when - now))
        for batch in stage.cluster.fetch(A):
            lane.deliver(batch)
        for _ in range(100):
            await asyncio.sleep(0)
    assert stage.done()
    assert all(delay >= longest for delay in timers)
    await lane.close(1.0)


async def paced(stage, pace_s):
    spec = stage.engine.specs[TABLE] = dataclasses.replace(stage.engine.specs[TABLE], pace_s=pace_s)
    lane = await stage.open()
    lane._spec = spec
    return lane


async def test_what_comes_shortly_behind_a_step_is_one_step(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, {A: log_of(6, "a")})
    lane = await paced(stage, 0.3)
    for _ in range(3):
        lane.deliver(stage.cluster.fetch(A, count=1)[0])
        await asyncio.sleep(0.05)
    await until(lambda: stage.position(A) == 3)
    assert [step["a"] for step in stage.cluster.steps] == [1, 3]
    await lane.close(1.0)


async def test_a_steps_worth_is_not_waited_with(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, {A: log_of(9, "a")}, batch_max_records=3)
    lane = await paced(stage, 60.0)
    for batch in stage.cluster.fetch(A, count=9):
        lane.deliver(batch)
    await until(stage.done)
    await lane.close(0.01)


async def test_a_long_fold_lets_others_have_their_turn(tmp_path, monkeypatch):
    """Views, heartbeats of other lanes and the broker's answers do not wait for the end of a large batch."""
    stage, turns = Stage(tmp_path, monkeypatch, {A: log_of(50, "a")}), 0
    spec = stage.engine.specs[TABLE]

    def slow(rows, records, partition, now_ms):
        folding = spec.fold(rows, records, partition, now_ms)
        while True:
            time.sleep(0.006)
            try:
                yield next(folding)
            except StopIteration as ended:
                return ended.value

    stage.engine.specs[TABLE] = dataclasses.replace(spec, fold=slow)
    lane = await stage.open()
    for batch in stage.cluster.fetch(A):
        lane.deliver(batch)

    async with asyncio.timeout(20):
        while not stage.done():
            turns += 1
            await asyncio.sleep(0)
    assert turns >= 50, "records of 6 ms each are no single turn"
    await lane.close(1.0)
    assert len(stage.cluster.steps) == 1, "and yet it was one step"
    stage.assert_exact()


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


async def test_an_inbox_is_full_by_bytes_too(tmp_path, monkeypatch):
    """Large records must not fill the memory with a handful of batches."""
    log = log_of(9, "a")
    log.records = [Rec(record.offset, bytes(1000), record.key, "a") for record in log.records]
    stage = Stage(tmp_path, monkeypatch, {A: log}, batch_max_records=3, batch_max_bytes=4000)
    lane = await stage.open()
    first, second, third = stage.cluster.fetch(A, count=9)
    assert (first.size, second.size) == (3006, 3006), "keys and values"
    lane.deliver(first)
    assert stage.cluster.suspended == set()
    lane.deliver(second)
    assert stage.cluster.suspended == {A}
    lane.deliver(third)
    await stage.feed(lane, stage.done)
    assert stage.cluster.suspended == set()
    assert lane._inboxes["a"].bytes == 0
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


def nothing():
    yield
    return Folded()


async def test_a_fold_without_rows_still_moves_the_position(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, {A: log_of(6, "a")})
    lane = await stage.open()
    lane._spec = type(lane._spec)(TABLE, ("a",), 1, lambda *_: nothing(), lambda *_: None)
    await stage.feed(lane, stage.done)
    await lane.close(1.0)
    assert list(stage.stored()) == [position_key("a")]
