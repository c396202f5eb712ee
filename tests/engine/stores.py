"""Stores of an engine without a broker: opened, reopened, and as a killed process leaves them."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

import pytest
from faust.types import TP

from replayer.engine.batch import Batch
from replayer.engine.store import patiently
from tests.engine.counting import TABLE, create

CHANGELOG = f"app-{TABLE}-changelog"


def engine_at(path: Path, **options):
    defaults = {
        "app": "app", "brokers": ["127.0.0.1:1"], "data_dir": str(path), "name": "w", "port": 1, "sources": ["t"],
        "partitions": 2, "guarantee": "exactly_once", "session_timeout_s": 3.0, "standby_replicas": 0,
        "stop_grace_s": 5.0, "batch_max_records": 100, "slow_s": 0.0, "freeze": "never", "dead_letters": "dead",
    }  # fmt: skip
    return create({**defaults, **options})


def reopened(engine, path):
    """Another process on the same directory."""
    for db in engine.store(TABLE)._dbs.values():
        db.close()
    engine.store(TABLE)._dbs.clear()
    fresh = engine_at(path)
    return fresh.store(TABLE)


def written(store, partition, rows, changelog_offset):
    """A step's rows, stored as its lane stores them."""
    patiently(store.writing(partition, rows, changelog_offset))


def rows_of(store, partition=0):
    rows = store._db_for_partition(partition).items()
    return {key: value for key, value in rows if not key.startswith(b"__")}


def changelog_batch(records, before, after, partition=0, **also):
    return Batch(CHANGELOG, partition, records, before, after, 0, **also)


TP0 = TP(CHANGELOG, 0)


def crashed(path):
    """A directory as a killed process leaves it: closing would flush."""
    for _ in range(20):
        copy = path.with_name(f"{path.name}-crashed-{secrets.token_hex(4)}")
        try:
            shutil.copytree(path, copy)
        except shutil.Error:  # RocksDB has just thrown away a file it needs no more
            continue
        return engine_at(copy).store(TABLE)
    pytest.fail("the directory does not come to rest")
