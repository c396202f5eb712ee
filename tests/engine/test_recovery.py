"""Changelogs are stored in order and whole, whatever Faust drops, clears or delivers twice on the way."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from faust.tables.recovery import ServiceStopped
from faust.types import TP
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replayer.engine.batch import Batch
from replayer.engine.recovery import BatchRecovery, ChangelogReplaced
from tests.engine.counting import TABLE
from tests.engine.fakes import CHANGELOG, Cluster
from tests.engine.records import Log
from tests.engine.stores import engine_at

TP0 = TP(CHANGELOG, 0)
PATIENT = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
WHAT = st.sampled_from(["fetch", "slurp", "drop", "swap", "again", "clear", "look"])
MISHAPS = st.lists(
    st.tuples(WHAT, st.integers(0, 5)),
    max_size=40,
)


@pytest.fixture(autouse=True)
def harmless_failures(monkeypatch):
    monkeypatch.setattr("replayer.engine.engine.end_hard_after", lambda _: None)


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    return lambda: tmp_path_factory.mktemp("recovery")


class Stage:
    """Faust's changelog queue with an adversary at it; `slurp` does what Faust's `_slurp_changelogs` does."""

    def __init__(self, path, monkeypatch, log, active=True):
        self.engine = engine_at(path)
        self.log = log
        for record in log.records:
            object.__setattr__(record, "key", b"k%d" % (record.offset % 4))
        self.cluster = Cluster(self.engine, monkeypatch, {TP0: log})
        self.store = self.engine.store(TABLE)
        self.recovery = self.engine.app.tables.recovery
        assert isinstance(self.recovery, BatchRecovery)
        self.recovery.in_recovery = active
        (self.recovery.active_tps if active else self.recovery.standby_tps).add(TP0)
        self.offsets = self.recovery.active_offsets if active else self.recovery.standby_offsets
        self.offsets[TP0] = -1
        self.cluster.nexts[TP0] = 0
        self.queue = []

    def fetch(self, count):
        batches = self.cluster.fetch(TP0, count)
        self.queue.extend(SimpleNamespace(value=b, tp=TP0, offset=b.offset) for b in batches)

    async def slurp(self):
        message = self.queue.pop(0)
        if message.offset > self.offsets[TP0]:
            self.offsets[TP0] = message.offset
            await self.engine.changelogs.on_event(SimpleNamespace(message=message))
            for _ in range(3):
                await asyncio.sleep(0)

    async def mishap(self, what, at):
        index = at % len(self.queue) if self.queue else None
        if what == "fetch":
            self.fetch(at + 1)
        elif what == "look":
            self.engine.changelogs.look()
            await asyncio.sleep(0)
        elif what == "clear":
            self.queue.clear()
        elif index is None:
            return
        elif what == "slurp":
            await self.slurp()
        elif what == "drop":
            del self.queue[index]
        elif what == "again":
            self.queue.insert(0, self.queue[index])
        elif what == "swap":
            self.queue[0], self.queue[index] = self.queue[index], self.queue[0]

    async def finish(self):
        for _ in range(300):
            while self.queue:
                await self.slurp()
            if self.offsets[TP0] >= self.log.end - 1:
                return
            self.fetch(5)
            if not self.queue:
                self.engine.changelogs.look()
                for _ in range(3):
                    await asyncio.sleep(0)
        raise AssertionError("recovery does not end")

    def rows(self):
        return {key: value for key, value in self.store._dbs[0].items() if not key.startswith(b"__")}


@PATIENT
@given(st.lists(st.integers(0, 7), unique=True), MISHAPS, st.booleans())
async def test_when_faust_says_recovered_every_row_is_there(directories, monkeypatch, offsets, mishaps, active):
    stage = Stage(directories(), monkeypatch, Log(offsets, 8), active)
    for what, at in mishaps:
        await stage.mishap(what, at)
        if stage.offsets[TP0] >= stage.log.end - 1:
            break
    await stage.finish()
    assert stage.rows() == {record.key: record.value for record in stage.log.records}
    assert stage.store.applied(0) == stage.log.end - 1
    assert stage.engine.failure is None


async def test_a_batch_that_gets_lost_again_is_read_again_at_once(tmp_path, monkeypatch):
    """Not only once fetching stands still: a busy changelog never does."""
    stage = Stage(tmp_path, monkeypatch, Log(range(20), 20), active=False)
    for _ in range(2):
        stage.fetch(6)
        del stage.queue[0]
        await stage.slurp()
        stage.queue.clear()
    assert stage.cluster.seeks == [(TP0, 0), (TP0, 0)]


async def test_what_is_not_ours_any_more_touches_nothing(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, Log(range(3), 3))
    stage.recovery.active_tps.clear()
    stage.fetch(3)
    stage.engine.changelogs.arrived(stage.queue[0])
    assert 0 not in stage.store._dbs, "not even opened"


async def test_a_worker_that_stops_opens_no_database_again(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, Log(range(3), 3), active=False)
    stage.cluster.nexts[TP0] = 3
    stage.engine.app._stopped.set()
    stage.engine._look()
    assert stage.store._dbs == {}
    stage.engine.app._stopped.clear()
    stage.engine._look()
    assert list(stage.store._dbs) == [0]


async def test_a_store_that_fails_ends_the_worker(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, Log(range(3), 3))
    stage.fetch(3)
    monkeypatch.setattr(stage.store, "apply", lambda _: (_ for _ in ()).throw(OSError("No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        await stage.slurp()
    assert "could not be stored: No space left on device" in stage.engine.failure


async def test_a_changelog_that_ends_below_what_is_stored_ends_the_worker(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, Log([], 0))
    batch = Batch(CHANGELOG, 0, (), 9, 9, 0, beyond=(9, 0))
    with pytest.raises(ChangelogReplaced):
        await stage.engine.changelogs.on_event(SimpleNamespace(message=SimpleNamespace(value=batch, tp=TP0)))
    assert "was it recreated" in stage.engine.failure


async def test_the_end_of_recovery_is_told_with_its_generation(tmp_path, monkeypatch):
    stage = Stage(tmp_path, monkeypatch, Log([], 0))
    told = []
    monkeypatch.setattr(stage.engine, "recovered", told.append)
    monkeypatch.setattr("faust.tables.recovery.Recovery.on_recovery_completed", lambda *_: asyncio.sleep(0))
    await stage.recovery.on_recovery_completed(5)
    assert told == [5]


async def test_a_time_out_in_recovery_is_a_failure_and_a_stop_is_not(tmp_path, monkeypatch):
    """To Faust both are the same: it would end recovery in silence."""
    stage = Stage(tmp_path, monkeypatch, Log([], 0))
    with pytest.raises(ServiceStopped):
        await stage.recovery._wait(asyncio.sleep(60), timeout=0.01)
    assert "did not answer within 0.01 s" in stage.engine.failure

    stage.engine.failure = None
    stage.recovery._stopped.set()
    with pytest.raises(ServiceStopped):
        await stage.recovery._wait(asyncio.sleep(60), timeout=5)
    assert stage.engine.failure is None
