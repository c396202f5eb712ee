"""Recipes against the disk the local state lies on."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import rocksdict
from faust.stores.rocksdb import Store

from replayer.flows.tables import TIMELINES
from tests.chaos.promise import promised
from tests.chaos.recipes.processes import overtaken
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
    promised("it ends with 1 and says so, commits nothing, and goes on once there is room"),
    workers=1,
    settings={"ROCKSDB_MEMORY_MB": "16", "STOP_GRACE_S": str(_GRACE_S)},
)


def _damage(trial: Trial) -> None:
    """Three kinds, one in each strike, of every database one has: each is set aside, once, and rebuilt.

    All three show when a database is opened: there is nothing to end for, neither then nor later.
    """
    for spoil, number in zip((_flip, _truncate, _run_ahead), trial.strikes(3), strict=True):
        victim = trial.cluster.workers[number % len(trial.cluster.workers)]
        assert victim.stop() == 0, victim.tail()
        damaged = [of for of, database in _databases(trial.cluster.data_of(victim)).items() if spoil(database)]
        assert damaged, "nothing was stored"
        trial.cluster.start(victim)
        overtaken(trial)
        assert _set_aside(victim) == damaged, victim.tail()


def _set_aside(worker: Role) -> list[int]:
    """The partitions whose databases it has set aside since it was started, each as often as it has."""
    said = worker.since_start().splitlines()
    lines = [json.loads(line) for line in said if "local state set aside; it is rebuilt" in line]
    assert all(line["table"] == TIMELINES for line in lines), lines
    return sorted(line["partition"] for line in lines)


def _databases(directory: Path) -> dict[int, Path]:
    """Those of the timelines, by partition."""
    found = {int(path.stem.rpartition("-")[2]): path for path in directory.glob("**/timelines-*.db")}
    return dict(sorted(found.items()))


def _flip(database: Path) -> bool:
    """Bytes of every table file change, its index and its end among them. False: there is none."""
    files = list(database.glob("*.sst"))
    for file in files:
        with file.open("r+b") as open_file:
            size = file.stat().st_size
            for at in range(size // 2, size, 16):
                open_file.seek(at)
                (byte,) = open_file.read(1)
                open_file.seek(at)
                open_file.write(bytes([byte ^ 0xFF]))
    return bool(files)


def _truncate(database: Path) -> bool:
    """Every MANIFEST loses all but its first bytes. (One that lost its end is an older state: read on from there.)"""
    for file in database.glob("MANIFEST-*"):
        os.truncate(file, 10)
    return True


def _run_ahead(database: Path) -> bool:
    """What is stored claims to stand for more of the changelog than there is."""
    db = rocksdict.Rdict(str(database), options=rocksdict.Options(raw_mode=True))
    db[Store.offset_key] = b"1000000000"
    db.close()
    return True


DAMAGE = Recipe(
    "RocksDB damaged",
    _damage,
    promised("what is damaged is set aside and rebuilt, once for each database, and no worker ends"),
    # With copies of everything: else it may be given other partitions than those it has something of.
    settings={"STANDBY_REPLICAS": "1"},
)
