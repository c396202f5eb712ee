"""Recipes against the disk the local state lies on."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import rocksdict
from faust.stores.rocksdb import Store

from tests.chaos.brokerside import PARTITIONS
from tests.chaos.recipes.processes import exact, overtaken
from tests.chaos.trial import Recipe, Trial
from tests.e2e.roles import Role, until
from tests.small_disk import SmallDisk

_MEBIBYTES = 64
_TIMES = 3
_GRACE_S = 40.0


def _full(trial: Trial) -> None:
    """The only worker ends, each time; one that is started meanwhile ends as well and commits nothing."""
    (worker,) = trial.cluster.workers
    assert worker.stop() == 0, worker.tail()
    disk = trial.beyond.enter_context(SmallDisk(trial.cluster.data_of(worker), _MEBIBYTES))
    worker.within = disk.within
    trial.cluster.roots[worker.instance] = disk.path
    trial.cluster.start(worker)
    for number in range(_TIMES):
        trial.feed.reach(len(trial.feed.sent) + trial.events // 8)
        disk.fill()
        _ends(worker, trial, busy=True)
        trial.struck += 1
        if number == _TIMES - 1:
            before = trial.cluster.committed()
            assert trial.cluster.lagging(), "there is nothing it could commit"
            worker.start()
            _ends(worker, trial, busy=False)
            assert trial.cluster.committed() == before, "with a disk it could not write to, it committed"
        disk.free()
        trial.cluster.start(worker)


def _ends(worker: Role, trial: Trial, *, busy: bool) -> None:
    """By itself, with a sentence, and not only because its grace is over."""
    deadline = time.monotonic() + 120
    while worker.running and (busy and "the worker ends" not in worker.since_start()):
        trial.feed.reach(len(trial.feed.sent) + 200)  # it notices with its next flush
        assert time.monotonic() < deadline, f"it does not notice that its disk is full\n{worker.tail()}"
    until(lambda: not worker.running, "it ends", worker.tail, timeout_s=_GRACE_S - 5)
    assert worker.exit_code == 1, worker.tail()
    assert re.search(r"No space left on device|0 MiB are free", worker.since_start()), worker.tail()


FULL = Recipe(
    "disk full",
    _full,
    exact("it ends with 1 and says so, commits nothing, and goes on once there is room"),
    workers=1,
    settings={"ROCKSDB_MEMORY_MB": "16", "STOP_GRACE_S": str(_GRACE_S)},
)


def _damage(trial: Trial) -> None:
    """Three kinds, one in each strike. A worker may end, with a sentence; started again it rebuilds what it had."""
    for spoil, number in zip((_flip, _truncate, _run_ahead), trial.strikes(3), strict=True):
        victim = trial.cluster.workers[number % len(trial.cluster.workers)]
        assert victim.stop() == 0, victim.tail()
        before = victim.log.stat().st_size
        spoil(trial.cluster.data_of(victim))
        victim.start()
        trial.cluster.revive(victim)
        overtaken(trial)
        said = victim.since(before)
        assert "local state set aside; it is rebuilt" in said, victim.tail()
        # Damage to a block shows when it is read: of each database once, and what was set aside is sound.
        assert said.count("the worker ends") <= PARTITIONS, f"it ends again and again\n{victim.tail()}"
        settled = victim.log.stat().st_size
        trial.cluster.revive(victim)
        assert "the worker ends" not in victim.since(settled), victim.tail()


def _databases(directory: Path) -> list[Path]:
    found = sorted(directory.glob("**/timelines-*.db"))
    assert found, f"no database in {directory}"
    return found


def _flip(directory: Path) -> None:
    """Bytes of every table file change, its index and its end among them."""
    for database in _databases(directory):
        for file in database.glob("*.sst"):
            with file.open("r+b") as open_file:
                size = file.stat().st_size
                for at in range(size // 2, size, 16):
                    open_file.seek(at)
                    (byte,) = open_file.read(1)
                    open_file.seek(at)
                    open_file.write(bytes([byte ^ 0xFF]))


def _truncate(directory: Path) -> None:
    """Every MANIFEST loses all but its first bytes. (One that lost its end is an older state: read on from there.)"""
    for database in _databases(directory):
        for file in database.glob("MANIFEST-*"):
            os.truncate(file, 10)


def _run_ahead(directory: Path) -> None:
    """What is stored claims to stand for more of the changelog than there is."""
    options = rocksdict.Options(raw_mode=True)
    for database in _databases(directory):
        db = rocksdict.Rdict(str(database), options=options)
        db[Store.offset_key] = b"1000000000"
        db.close()


DAMAGE = Recipe(
    "RocksDB damaged",
    _damage,
    exact("what is damaged is set aside and rebuilt, at the cost of one end a database at most"),
    may_end=True,
)
