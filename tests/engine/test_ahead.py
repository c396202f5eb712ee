"""Who sends records on waits for who folds them."""

from __future__ import annotations

import asyncio
import dataclasses

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from replayer.engine.ahead import Ahead
from tests.engine.counting import TABLE
from tests.engine.lane_stage import A, Stage
from tests.engine.test_lane_steps import log_of, until

FED = [TP("rekeyed", 0), TP("rekeyed", 1), TP("other", 0)]
OFFSETS = st.dictionaries(st.sampled_from(FED), st.integers(0, 50))


@given(OFFSETS, OFFSETS, st.dictionaries(st.sampled_from(FED), st.none() | st.integers(0, 50)), st.integers(0, 60))
def test_what_waits_is_what_is_sent_and_not_folded(begins, lengths, committed, most):
    ends = {tp: begins.get(tp, 0) + length for tp, length in lengths.items()}
    ahead = Ahead(most)
    ahead.look(begins, ends, committed)
    waiting = 0
    for tp in FED[:2]:
        if tp in begins and tp in ends and tp in committed:
            waiting += sum(1 for offset in range(begins[tp], ends[tp]) if offset >= (committed[tp] or 0))
    assert ahead.waiting.get("rekeyed", 0) == waiting
    assert ahead.too_far(["rekeyed"]) is (waiting > most)
    assert not ahead.too_far([])
    assert not ahead.too_far(["nobody"])
    before = ahead.too_far(["rekeyed"])
    ahead.look({}, {}, {})
    assert ahead.too_far(["rekeyed"]) is before, "what is not known now is as it was"


async def test_a_lane_that_feeds_a_full_topic_waits_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("replayer.engine.lane._AHEAD_S", 0.01)
    stage = Stage(tmp_path, monkeypatch, {A: log_of(6, "a")})
    spec = stage.engine.specs[TABLE] = dataclasses.replace(stage.engine.specs[TABLE], feeds=("rekeyed",))
    lane = await stage.open()
    lane._spec = spec
    stage.engine.ahead = Ahead(10)
    stage.engine.ahead.look({FED[0]: 0}, {FED[0]: 11}, {FED[0]: None})
    for batch in stage.cluster.fetch(A):
        lane.deliver(batch)
    await asyncio.sleep(0.3)
    assert stage.cluster.steps == []
    stage.engine.ahead.look({FED[0]: 0}, {FED[0]: 11}, {FED[0]: 1})
    await until(stage.done)
    await lane.close(1.0)
    stage.assert_exact()


async def test_a_lane_that_waits_closes_at_once(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, {A: log_of(6, "a")})
    spec = stage.engine.specs[TABLE] = dataclasses.replace(stage.engine.specs[TABLE], feeds=("rekeyed",))
    lane = await stage.open()
    lane._spec = spec
    stage.engine.ahead.look({FED[0]: 0}, {FED[0]: 10**9}, {FED[0]: 0})
    for batch in stage.cluster.fetch(A):
        lane.deliver(batch)
    await asyncio.sleep(0.05)
    async with asyncio.timeout(1.0):
        await lane.close(5.0)
    assert stage.cluster.steps == []


async def test_where_the_group_stands_is_asked_for_all_partitions(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, {A: log_of(6, "a")})
    engine = stage.engine
    engine.specs[TABLE] = dataclasses.replace(engine.specs[TABLE], feeds=("rekeyed",))
    engine._assignment.open = True
    engine.ahead = Ahead(10)
    asked = []

    async def begins(tps):
        asked.append(sorted(tps))
        return {tp: 0 for tp in tps}

    async def ends(tps):
        asked.append(sorted(tps))
        return {tp: 9 for tp in tps}

    async def committed(tps):
        return {TP("rekeyed", 0): 3, TP("rekeyed", 1): None, TP("rekeyed", 2): 9}

    monkeypatch.setattr(stage.cluster, "begins", begins, raising=False)
    monkeypatch.setattr(stage.cluster, "ends", ends)
    monkeypatch.setattr(stage.cluster, "committed", committed)
    monkeypatch.setattr(stage.cluster, "partition_count", lambda topic: 3, raising=False)
    await engine.measure_ahead()
    assert asked == [[TP("rekeyed", number) for number in range(3)]] * 2
    assert engine.ahead.waiting == {"rekeyed": 6 + 9 + 0}
    assert engine.ahead.too_far(["rekeyed"])


def test_what_has_expired_waits_for_nobody():
    """A group away for longer than its offsets and the records are kept has nothing to fold, and nothing to commit."""
    ahead = Ahead(10)
    ahead.look({FED[0]: 10**7, FED[1]: 10**7}, {FED[0]: 10**7, FED[1]: 10**7 + 3}, {FED[0]: None, FED[1]: 5})
    assert ahead.waiting == {"rekeyed": 3}
