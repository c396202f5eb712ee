"""Rows in RocksDB, unwritten rows above them, and damage that must show."""

from __future__ import annotations

import glob
import os

import pytest
import rocksdict
from hypothesis import given
from hypothesis import strategies as st

from replayer.engine.memory import RocksMemory
from replayer.engine.rows import Overlay, RocksRows, StateClosed, StateUnreadable

KEYS = st.binary(min_size=1, max_size=3).map(lambda raw: bytes(97 + byte % 3 for byte in raw))  # a, b, c: they meet
WRITES = st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=2)), max_size=20)


class DictRows:
    """What rows mean, said in three lines."""

    def __init__(self, rows):
        self.rows = dict(rows)

    def get(self, key):
        return self.rows.get(key)

    def get_many(self, keys):
        return [self.rows.get(key) for key in keys]

    def scan(self, prefix, start=None):
        for key in sorted(self.rows):
            if key.startswith(prefix) and (start is None or key >= start):
                yield key, self.rows[key]


def asked(rows, keys, prefix, start):
    return ([rows.get(key) for key in keys], rows.get_many(keys), list(rows.scan(prefix, start)))


def stored(writes):
    return {key: value for key, value in writes if value is not None}


@given(WRITES, WRITES, st.lists(KEYS, max_size=5), st.binary(max_size=2), st.none() | KEYS)
def test_an_overlay_answers_like_the_rows_once_written(below, above, keys, prefix, start):
    overlay = Overlay(DictRows(stored(below)))
    overlay.write(above[:3])
    overlay.write(above[3:])
    merged = stored(below)
    for key, value in above:
        merged.pop(key, None) if value is None else merged.update({key: value})
    assert asked(overlay, keys, prefix, start) == asked(DictRows(merged), keys, prefix, start)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    db = rocksdict.Rdict(str(tmp_path_factory.mktemp("rows") / "db"), options=RocksMemory(16 << 20).options())
    yield db
    db.close()


@given(WRITES, st.lists(KEYS, max_size=5), st.binary(max_size=2), st.none() | KEYS)
def test_rows_in_rocksdb_answer_like_a_dict(database, writes, keys, prefix, start):
    database.delete_range(b"", b"\xff")
    for key, value in stored(writes).items():
        database.put(key, value)
    assert asked(RocksRows(database), keys, prefix, start) == asked(DictRows(stored(writes)), keys, prefix, start)


@pytest.fixture
def damaged(tmp_path):
    """20,000 rows on disk, with eight bytes in the middle of the file flipped."""
    path = str(tmp_path / "db")
    db = rocksdict.Rdict(path, options=RocksMemory(16 << 20).options())
    batch = rocksdict.WriteBatch(raw_mode=True)
    for index in range(20_000):
        batch.put(b"k%06d" % index, os.urandom(30))
    db.write(batch)
    db.flush()
    db.close()
    (file,) = glob.glob(f"{path}/*.sst")
    with open(file, "r+b") as raw:
        raw.seek(os.path.getsize(file) // 2)
        eight = raw.read(8)
        raw.seek(-8, os.SEEK_CUR)
        raw.write(bytes(byte ^ 0xFF for byte in eight))
    db = rocksdict.Rdict(path, options=RocksMemory(16 << 20).options())
    yield db
    db.close()


@pytest.mark.parametrize("read", ["get", "get_many", "scan"])
def test_damage_is_never_an_absent_row_or_a_shorter_scan(damaged, read):
    told = []
    rows = RocksRows(damaged, told.append)
    keys = [b"k%06d" % index for index in range(20_000)]
    reads = {
        "get": lambda: [rows.get(key) for key in keys],
        "get_many": lambda: rows.get_many(keys),
        "scan": lambda: list(rows.scan(b"k")),
    }
    with pytest.raises(StateUnreadable, match="checksum"):
        reads[read]()
    assert len(told) == 1, "the owner of the table hears of it too"


def test_the_undamaged_part_is_still_read(damaged):
    rows = RocksRows(damaged)
    assert rows.get(b"k000000") is not None
    assert sum(1 for _ in rows.scan(b"k00001")) == 10


def test_a_closed_database_is_not_called_damaged(tmp_path):
    db = rocksdict.Rdict(str(tmp_path / "db"), options=RocksMemory(16 << 20).options())
    rows = RocksRows(db, lambda _: pytest.fail("told"))
    db.close()
    with pytest.raises(StateClosed):
        rows.get(b"k")
