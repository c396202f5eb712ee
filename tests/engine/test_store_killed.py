"""What a kill leaves on the disk: an older state, rows and offset alike; an end in order loses nothing."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from replayer.engine.store import StateUnusable
from tests.engine.records import Rec
from tests.engine.stores import CHANGELOG, TP0, changelog_batch, crashed, rows_of, written


class Watched:
    """A database that tells after everything that is written what a kill would leave."""

    def __init__(self, db, told):
        self._db, self._told = db, told

    def __getattr__(self, name):
        found = getattr(self._db, name)
        if name not in ("write", "put", "delete"):
            return found

        def written(*arguments):
            found(*arguments)
            self._db.flush()
            self._told()

        return written


def test_a_kill_between_any_two_writes_leaves_rows_and_their_offset(store, tmp_path):
    """What was not flushed is gone, its offset with it: recovery reads it again from the changelog."""
    seen = []

    def look():
        left = crashed(tmp_path)
        offset, rows = left.persisted_offset(TP0), rows_of(left)
        seen.append(offset)
        assert rows[b"k"] == b"%d" % offset
        assert sum(key.startswith(b"x") for key in rows) == offset + 1

    store._dbs[0] = Watched(store._dbs[0], look)
    for index in range(3):
        written(store, 0, [(b"k", b"%d" % index), (b"x%d" % index, bytes(100))], index)
    store.apply(changelog_batch([Rec(3, b"3", b"k"), Rec(3, b"3", b"x3")], 3, 4))
    assert seen == [0, 1, 2, 3]


async def test_a_graceful_end_loses_nothing(store, tmp_path):
    written(store, 0, [(b"k", b"1")], 7)
    await store.stop()
    left = crashed(tmp_path)
    assert (rows_of(left), left.persisted_offset(TP0)) == ({b"k": b"1"}, 7)


def test_a_revoked_partition_loses_nothing(store, tmp_path):
    written(store, 0, [(b"k", b"1")], 7)
    topic = SimpleNamespace(changelog_topic=SimpleNamespace(topics=[CHANGELOG]))
    store.revoke_partitions(topic, {TP0})
    left = crashed(tmp_path)
    assert (rows_of(left), left.persisted_offset(TP0)) == ({b"k": b"1"}, 7)


def test_rows_are_written_only_where_the_rest_of_them_is(store):
    """A new database would have one step for the whole table, and the offset that says so."""
    written(store, 0, [(b"k", b"1")], 7)
    store.set_aside(0, "damaged")
    with pytest.raises(StateUnusable, match="closed under its writer"):
        written(store, 0, [(b"k", b"2")], 8)
    assert store.persisted_offset(TP0) is None


def test_what_is_written_rarely_does_not_get_outdated_in_memory(store, tmp_path, monkeypatch):
    """A quiet partition that is killed after days is as young as its last touch, give or take the flushes."""
    clock = [0.0]
    monkeypatch.setattr("replayer.engine.store.time.monotonic", lambda: clock[0])
    written(store, 0, [(b"k", b"1")], 7)
    for _ in range(4):
        store.touch({0})
        clock[0] += 300.0
    left = await_flushed(tmp_path)
    assert (rows_of(left), left.persisted_offset(TP0)) == ({b"k": b"1"}, 7)


def await_flushed(path):
    """The directory as a kill leaves it once the flush under way is done."""
    for _ in range(100):
        left = crashed(path)
        if left.persisted_offset(TP0) is not None:
            return left
        time.sleep(0.05)
    return left


def test_no_log_is_written_beside_the_changelog(store):
    """The changelog is the log; a second one cost a tenth of a worker's time."""
    written(store, 0, [(b"k", bytes(100_000))], 0)
    logs = Path(store.partition_path(0)).glob("*.log")
    assert sum(log.stat().st_size for log in logs) < 1000
