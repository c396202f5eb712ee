"""Web servers over a fake cluster, stopped at the end of each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.serve.serve_cluster import Cluster


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Not started: `await cluster.start(count, **settings)`."""
    made = Cluster(tmp_path)
    yield made
    await made.stop()
