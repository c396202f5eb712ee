"""The store: rows and changelog offset in one write; state that is damaged, outdated or ahead is never served."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from replayer.engine.store import ALIVE_KEY, StateUnusable
from tests.engine.counting import TABLE
from tests.engine.records import Rec
from tests.engine.stores import TP0, changelog_batch, reopened, rows_of, written


def test_rows_and_offset_are_one_write(store):
    assert store.persisted_offset(TP0) is None
    written(store, 0, [(b"a", b"1"), (b"b", b"2")], 1)
    written(store, 0, [(b"a", None), (b"c", b"3")], 3)
    assert rows_of(store) == {b"b": b"2", b"c": b"3"}
    assert store.persisted_offset(TP0) == 3
    assert rows_of(store, 1) == {}


def test_a_write_that_fails_leaves_neither_rows_nor_offset(store):
    written(store, 0, [(b"a", b"1")], 1)
    with pytest.raises(ValueError, match="bytes"):
        written(store, 0, [(b"a", b"2"), (b"b", object())], 2)
    assert (rows_of(store), store.persisted_offset(TP0)) == ({b"a": b"1"}, 1)


def test_the_changelog_is_applied_and_what_was_applied_is_ignored(store):
    first = [Rec(0, b"1", b"a"), Rec(1, b"1", b"b"), Rec(2, None, b"a")]
    assert store.apply(changelog_batch(first, 0, 4))  # offset 3 is a marker
    assert rows_of(store) == {b"b": b"1"}
    assert store.persisted_offset(TP0) == 3
    again = [*first, Rec(4, b"2", b"b")]
    assert store.apply(changelog_batch(again, 0, 5))
    assert rows_of(store) == {b"b": b"2"}
    assert store.apply(changelog_batch(first, 0, 4))
    assert (rows_of(store), store.persisted_offset(TP0)) == ({b"b": b"2"}, 4)


def test_rows_that_follow_from_the_changelogs_are_stored_with_them(store):
    def implied(rows):
        return [(b"i" + key, value) for key, value in rows if value is not None]

    engine = store.engine
    engine.specs[TABLE] = replace(engine.specs[TABLE], implied=implied)
    store.apply(changelog_batch([Rec(0, b"1", b"a"), Rec(1, b"2", b"b"), Rec(2, b"3", b"ib")], 0, 3))
    assert rows_of(store) == {b"a": b"1", b"b": b"2", b"ia": b"1", b"ib": b"3", b"iib": b"3"}, "the log's own row wins"
    store.apply(changelog_batch([Rec(1, b"2", b"b"), Rec(3, None, b"a")], 1, 4))
    assert rows_of(store)[b"ib"] == b"3", "what was applied implies nothing again"


def test_a_batch_beyond_a_hole_is_not_applied(store):
    store.apply(changelog_batch([Rec(0, b"1", b"a")], 0, 1))
    assert not store.apply(changelog_batch([Rec(5, b"2", b"a")], 5, 6))
    assert (rows_of(store), store.persisted_offset(TP0)) == ({b"a": b"1"}, 0)


def test_a_marker_alone_moves_the_offset(store):
    assert store.apply(changelog_batch([], 0, 2))
    assert store.persisted_offset(TP0) == 1


def damage_current(path):
    (path / "CURRENT").write_text("garbage")


def remove_current(path):
    (path / "CURRENT").unlink()


def flip_manifest(path):
    flip(next(path.glob("MANIFEST*")), 20)


def truncate_manifest(path):
    os.truncate(next(path.glob("MANIFEST*")), 10)


def remove_manifest(path):
    next(path.glob("MANIFEST*")).unlink()


def truncate_table(path):
    os.truncate(next(path.glob("*.sst")), 10)


def flip_first_block(path):
    """Where the store's own keys are: it opens, and the first read fails."""
    flip(next(path.glob("*.sst")), 20)


def remove_table(path):
    next(path.glob("*.sst")).unlink()


def flip(file, at, count=8):
    with file.open("r+b") as raw:
        raw.seek(at)
        found = raw.read(count)
        raw.seek(at)
        raw.write(bytes(byte ^ 0xFF for byte in found))


@pytest.mark.parametrize(
    "damage",
    [
        damage_current,
        remove_current,
        flip_manifest,
        truncate_manifest,
        remove_manifest,
        truncate_table,
        remove_table,
        flip_first_block,
    ],
)
def test_damaged_state_is_set_aside_and_begins_anew(engine, store, tmp_path, damage):
    written(store, 0, [(b"k%d" % index, bytes(50)) for index in range(1000)], 999)
    store._dbs[0].flush()
    written(store, 1, [(b"other", b"1")], 0)
    path = Path(store.partition_path(0))
    for db in store._dbs.values():
        db.close()
    store._dbs.clear()
    damage(path)

    fresh = reopened(engine, tmp_path)
    assert (rows_of(fresh), fresh.persisted_offset(TP0)) == ({}, None)
    assert path.with_name(f"{path.name}.damaged").exists(), "one copy is kept for a look"
    assert fresh.engine.metrics.seen == {"set_aside_damaged": 1}
    assert rows_of(fresh, 1) == {b"other": b"1"}


def test_outdated_state_is_rebuilt_and_no_copy_is_kept(engine, store, tmp_path):
    written(store, 0, [(b"a", b"1")], 0)
    store._dbs[0].put(ALIVE_KEY, int((time.time() - 25 * 3600) * 1000).to_bytes(8, "big"))
    fresh = reopened(engine, tmp_path)
    assert rows_of(fresh) == {}
    assert fresh.engine.metrics.seen == {"set_aside_outdated": 1}
    assert not list(tmp_path.rglob("*outdated*")), "it may hold what was erased since"


def test_idle_state_is_kept_current_only_where_it_is_followed(engine, store, monkeypatch):
    written(store, 0, [(b"a", b"1")], 0)
    written(store, 1, [(b"a", b"1")], 0)
    before = store._dbs[0].get(ALIVE_KEY), store._dbs[1].get(ALIVE_KEY)
    time.sleep(0.002)
    store.touch({1})
    assert store._dbs[0].get(ALIVE_KEY) == before[0]
    assert store._dbs[1].get(ALIVE_KEY) > before[1]


def test_set_aside_replaces_the_copy_of_last_time(store):
    for value in (b"1", b"2"):
        store._db_for_partition(0)
        written(store, 0, [(b"a", value)], 0)
        store.set_aside(0, "ahead")
    assert rows_of(store) == {}
    assert store.persisted_offset(TP0) is None


class Broken:
    """A database whose writes fail, as after a compaction that met a damaged block."""

    def __init__(self, db, text):
        self.get, self.close, self.text = db.get, db.close, text

    def write(self, _):
        raise Exception(self.text)


@pytest.mark.parametrize("how", ["write", "apply"])
@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("Corruption: block checksum mismatch in /data/000009.sst", "was set aside; start the worker again"),
        ("IO error: No space left on device: While appending to file", "look at the disk"),
    ],
)
def test_a_write_that_fails_says_what_to_do_and_damage_is_set_aside(store, how, text, advice):
    written(store, 0, [(b"a", b"1")], 0)
    store._dbs[0] = Broken(store._dbs[0], text)
    writes = {
        "write": lambda: written(store, 0, [(b"a", b"2")], 1),
        "apply": lambda: store.apply(changelog_batch([Rec(1, b"2", b"a")], 1, 2)),
    }
    with pytest.raises(StateUnusable, match=f"cannot be written .*{advice}"):
        writes[how]()
    if "Corruption" in text:
        assert rows_of(store) == {}
    else:
        store._dbs.pop(0).close()
        assert rows_of(store) == {b"a": b"1"}


HOLD = """
import sys, rocksdict
db = rocksdict.Rdict(sys.argv[1], options=rocksdict.Options(raw_mode=True))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_database_in_use_by_another_process_is_a_sentence_and_stays_untouched(engine):
    store = engine.store(TABLE)
    path = Path(store.partition_path(0))
    path.parent.mkdir(parents=True, exist_ok=True)
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StateUnusable, match=r"in use by another process: .*REPLAYER_DATA_DIR"):
            store.persisted_offset(TP0)
    finally:
        other.communicate()
    assert store.persisted_offset(TP0) is None
    assert store.engine.metrics.seen == {}


def test_a_directory_that_cannot_be_opened_is_a_sentence(engine):
    store = engine.store(TABLE)
    path = Path(store.partition_path(0))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a file where a directory must be")
    with pytest.raises(StateUnusable, match="cannot be opened"):
        store.persisted_offset(TP0)
    assert path.read_text().startswith("a file")


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("Corruption: block checksum mismatch: stored = 1, computed = 2 in /data/000009.sst", "rebuilt"),
        ("IO error: No such file or directory: While opening a file for sequentially reading: MANIFEST-5", "rebuilt"),
        ("IO error: While lock file: /data/counts-0.db/LOCK: Resource temporarily unavailable", "in use by another"),
        ("IO error: lock hold by current process, acquire time 1", "in use by another"),
        ("IO error: No space left on device", "cannot be opened"),
    ],
)
def test_rocksdbs_words_are_told_apart(store, monkeypatch, text, outcome):
    written(store, 0, [(b"a", b"1")], 0)
    store._dbs.pop(0).close()
    really, failures = store._open, [text]

    def fails_once(path):
        if failures:
            raise Exception(failures.pop())
        return really(path)

    monkeypatch.setattr(store, "_open", fails_once)
    if outcome == "rebuilt":
        assert rows_of(store) == {}
    else:
        with pytest.raises(StateUnusable, match=outcome):
            store.persisted_offset(TP0)
        assert rows_of(store) == {b"a": b"1"}, "and left as it is"


class Stalled:
    """A database whose disk is full, seen from outside: RocksDB waits for room, and says so where it may not."""

    def write(self, batch):
        raise Exception("Result incomplete: Write stall")


def test_a_database_that_takes_no_writes_is_not_waited_for_without_end(store, monkeypatch):
    monkeypatch.setattr("replayer.engine.store._STALL_S", 0.1)
    monkeypatch.setitem(store._dbs, 0, Stalled())
    with pytest.raises(StateUnusable, match=r"cannot be written .*Write stall.*: look at the disk"):
        written(store, 0, [(b"a", b"1")], 1)
    with pytest.raises(StateUnusable, match=r"cannot be written"):
        store.touch({0})


def test_a_worker_that_ends_waits_for_no_room(store, monkeypatch):
    """Each of its lanes would wait in turn, and the process would outlive its grace."""
    monkeypatch.setitem(store._dbs, 0, Stalled())
    writing = store.writing(0, [(b"a", b"1")], 1)
    next(writing)
    store.engine.failure = "another partition's disk is full, too"
    with pytest.raises(StateUnusable, match="cannot be written"):
        next(writing)


def test_a_write_that_would_have_to_wait_is_made_when_there_is_room(engine, monkeypatch):
    """Memtables of 64 KiB, filled faster than they are flushed."""
    usual, pauses = engine.memory.options, []

    def small():
        options = usual()
        options.set_write_buffer_size(64 << 10)
        options.set_max_write_buffer_number(2)
        return options

    def pause(seconds):
        pauses.append(seconds)
        nap(seconds)

    nap = time.sleep
    monkeypatch.setattr(engine.memory, "options", small)
    monkeypatch.setattr("replayer.engine.store.time.sleep", pause)
    store = engine.store(TABLE)
    store._db_for_partition(0)
    for number in range(2_000):
        written(store, 0, [(b"%04d" % number, bytes(4096))], number)
    assert pauses
    assert len(rows_of(store)) == 2_000
    assert store.applied(0) == 1_999
