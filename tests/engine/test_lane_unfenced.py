"""At least once nobody fences a zombie: a lane that finds another's rows below its own ends before it stores a hole."""

from __future__ import annotations

import asyncio

import pytest

from tests.engine.fakes import log_of
from tests.engine.lane_stage import A, Stage

FOREIGN = (b"efrom elsewhere", b"a row")


def stage_of(tmp_path, monkeypatch, guarantee="at_least_once"):
    return Stage(tmp_path, monkeypatch, {A: log_of(60, "a")}, guarantee=guarantee, batch_max_records=10)


async def until_failed(stage, lane):
    await stage.feed(lane, lambda: stage.engine.failure is not None)
    return stage.engine.failure


async def test_a_foreign_row_ends_the_lane_and_the_next_recovery_has_it(tmp_path, monkeypatch):
    stage = stage_of(tmp_path, monkeypatch)
    lane = await stage.open()
    await stage.feed(lane, lambda: stage.position(A) >= 20)
    stage.cluster.changelog.append(FOREIGN)

    assert "another worker has written to it" in await until_failed(stage, lane)
    assert FOREIGN[0] not in stage.stored()
    await lane.close(1.0)
    stage.recover()
    assert stage.stored() == stage.cluster.rows(), "nothing that lies in the changelog is taken for stored"


async def test_a_row_that_came_between_recovery_and_opening_counts_as_well(tmp_path, monkeypatch):
    stage = stage_of(tmp_path, monkeypatch)
    recover = stage.recover

    def recovered_too_early():
        recover()
        stage.cluster.changelog.append(FOREIGN)

    monkeypatch.setattr(stage, "recover", recovered_too_early)
    assert "another worker has written to it" in await until_failed(stage, await stage.open())


@pytest.mark.parametrize("mishap", ["unknown", "lost"])
async def test_rows_of_an_attempt_of_its_own_are_no_reason_to_end(tmp_path, monkeypatch, mishap):
    stage = stage_of(tmp_path, monkeypatch)
    stage.cluster.mishaps = ["ok", mishap, mishap, "ok", mishap]
    lane = await stage.open()
    await stage.feed(lane, stage.done)
    assert stage.engine.failure is None
    await lane.close(1.0)


async def test_a_changelog_that_was_emptied_begins_where_it_ends(tmp_path, monkeypatch):
    stage = stage_of(tmp_path, monkeypatch)
    stage.cluster.changelog = [None] * 50

    async def begins(*tps):
        await asyncio.sleep(0)
        return dict.fromkeys(tps, 50)

    monkeypatch.setattr(stage.cluster, "earliest_offsets", begins)
    monkeypatch.setattr(stage, "recover", lambda: None)
    lane = await stage.open()
    await stage.feed(lane, stage.done)
    assert stage.engine.failure is None
    await lane.close(1.0)
