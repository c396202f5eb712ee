"""Web servers over a fake cluster, stopped at the end of each test, and a clock for their rate limit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.serve.serve_cluster import Cluster


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Not started: `await cluster.start(count, **settings)`."""
    made = Cluster(tmp_path)
    yield made
    await made.stop()


class Clock(SimpleNamespace):
    """Stands still unless a test moves it: how fast the machine asks must not decide what is refused."""

    now = 1_700_000_000.25

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    still = Clock()
    for module in ("limits.aio.storage.memory", "limits.aio.strategies", "replayer.serve.limit"):
        monkeypatch.setattr(f"{module}.time", still)
    return still
