"""One memory budget for all partitions."""

from __future__ import annotations

import os
import time

import pytest
import rocksdict

from replayer.engine.memory import RocksMemory

BUDGET = 32 << 20
DATABASES = 4


def total(dbs, name):
    return sum(db.property_int_value(f"rocksdb.{name}") for db in dbs)


def test_many_databases_share_one_budget(tmp_path):
    memory = RocksMemory(BUDGET)
    dbs = [rocksdict.Rdict(str(tmp_path / str(index)), options=memory.options()) for index in range(DATABASES)]
    for db in dbs:
        db.set_write_options(memory.writes())
    memtables = 0
    try:
        assert {db.property_int_value("rocksdb.block-cache-capacity") for db in dbs} == {BUDGET}
        for step in range(40):
            for db in dbs:
                batch = rocksdict.WriteBatch(raw_mode=True)
                for index in range(50):
                    batch.put(b"k%d-%d" % (step, index), os.urandom(8192))  # 64 MiB in all: twice the budget
                db.write(batch)
            # Memtables on their way to disk are charged too, and may exceed it for as long as that takes.
            deadline = time.monotonic() + 60
            while memory.used > BUDGET and time.monotonic() < deadline:
                time.sleep(0.01)
            assert memory.used <= BUDGET
            memtables = max(memtables, total(dbs, "cur-size-all-mem-tables"))
        for db in dbs:
            assert sum(1 for _ in db.items()) == 2000
            assert memory.used <= BUDGET * 1.5, "what is pinned while it is read is the only excess"
        assert BUDGET / 8 < memtables <= BUDGET
    finally:
        for db in dbs:
            db.close()


def test_a_budget_that_cannot_work_is_refused():
    with pytest.raises(ValueError, match="at least 16 MiB; REPLAYER_ROCKSDB_MEMORY_MB gives 8"):
        RocksMemory(8 << 20)


def test_memtables_grow_in_small_blocks(tmp_path):
    """Large ones leave the heap full of holes."""
    db = rocksdict.Rdict(str(tmp_path / "db"), options=RocksMemory(256 << 20).options())
    try:
        db[b"key"] = b"x" * 10_000
        first = total([db], "cur-size-all-mem-tables")
        assert first <= 2 * 64 << 10
        for number in range(8):
            db[b"key%d" % number] = b"x" * 10_000
        assert total([db], "cur-size-all-mem-tables") - first <= 2 * 64 << 10
    finally:
        db.close()
