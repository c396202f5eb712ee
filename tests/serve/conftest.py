"""Web servers over a fake cluster, stopped at the end of each test."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # serve_cluster, for the tests beside this file

from tests.serve.serve_cluster import Cluster


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Not started: `await cluster.start(count, **settings)`."""
    made = Cluster(tmp_path)
    yield made
    await made.stop()
