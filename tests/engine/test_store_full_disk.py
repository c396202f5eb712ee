"""A disk that is full is no damage: nothing is set aside, nothing hangs, and once there is room all is as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from replayer.engine.rows import is_damage
from replayer.engine.store import StateUnusable
from tests.engine.counting import TABLE
from tests.engine.stores import engine_at, rows_of, written
from tests.small_disk import SmallDisk


@pytest.fixture
def disk(tmp_path):
    with SmallDisk(tmp_path / "disk", 64) as disk:
        yield disk


def write_100_mib(store):
    for number in range(100):
        written(store, 0, [(b"%05d" % number, bytes(1 << 20))], number)


async def test_what_cannot_be_written_ends_the_worker_and_damages_nothing(disk, monkeypatch):
    monkeypatch.setattr("replayer.engine.engine.end_hard_after", lambda _: None)
    engine = engine_at(disk.path)
    store = engine.store(TABLE)
    for partition in range(2):
        store._db_for_partition(partition)
    written(store, 0, [(b"a", b"1")], 0)
    store._dbs[0].flush()
    disk.fill()
    monkeypatch.setattr("replayer.engine.store._STALL_S", 1.0)
    with pytest.raises(StateUnusable, match=r"cannot be written .*: look at the disk \(0 MiB are free\)"):
        write_100_mib(store)  # noticed with the first flush
    await store.stop()
    assert store._dbs == {}
    assert "cannot be closed" in engine.failure
    disk.free()
    again = engine_at(disk.path).store(TABLE)
    assert rows_of(again)[b"a"] == b"1"
    await again.stop()
    assert not list(Path(store.partition_path(0)).parent.glob("*.damaged"))


async def test_opening_says_that_the_disk_is_full_and_sets_nothing_aside(disk):
    store = engine_at(disk.path).store(TABLE)
    store._db_for_partition(0)
    written(store, 0, [(b"a", b"1")], 0)
    await store.stop()
    disk.fill()
    full = engine_at(disk.path).store(TABLE)
    for partition in range(2):
        with pytest.raises(StateUnusable, match=r"cannot be opened .*No space left on device.* look at the disk"):
            full._db_for_partition(partition)
    disk.free()
    again = engine_at(disk.path).store(TABLE)
    assert rows_of(again) == {b"a": b"1"}
    await again.stop()


@pytest.mark.parametrize("words", ["No space left on device", "Disk quota exceeded", "Read-only file system"])
def test_the_disk_s_words_are_no_damage_whatever_file_they_are_about(words):
    assert not is_damage(f"IO error: {words}: While appending to file: /data/timelines-2.db/MANIFEST-000011: {words}")
