"""An engine without a broker, and its store with both partitions open."""

from __future__ import annotations

import pytest

from tests.engine.counting import TABLE
from tests.engine.stores import engine_at


@pytest.fixture
def engine(tmp_path):
    return engine_at(tmp_path)


@pytest.fixture
def store(engine):
    store = engine.store(TABLE)
    for partition in range(2):
        store._db_for_partition(partition)
    return store
