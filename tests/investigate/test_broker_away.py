"""A broker that dies under a replay and comes back: waited for, and nothing twice or missing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from replayer.core.pace import Pace
from replayer.investigate.config import InvestigateConfig
from replayer.investigate.investigation import Ending, Investigation
from replayer.kafka.admin import LogAdmin
from replayer.kafka.broker import EmbeddedBroker
from replayer.kafka.partitioner import partition_of
from tests.investigate.conftest import PARTITIONS, Log, wanted
from topics.catalogue import POLICY_EVENTS, REPLAY_PROGRESS, REPLAY_RESULTS, with_partitions
from topics.progress import State

pytestmark = pytest.mark.broker


async def test_a_broker_killed_under_way_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with EmbeddedBroker(data_dir=tmp_path / "kafka") as broker:
        async with LogAdmin([broker.bootstrap]) as admin:
            await admin.create(with_partitions((POLICY_EVENTS, REPLAY_PROGRESS, REPLAY_RESULTS), PARTITIONS))
        sources = (POLICY_EVENTS.name,)
        config = InvestigateConfig(
            brokers=[broker.bootstrap],
            partition_of=partition_of,
            sources=sources,
            commit_interval_s=0.2,
            backoff_s=0.05,
            longest_backoff_s=1.0,
            transaction_timeout_s=10.0,
        )
        log = Log(broker.bootstrap, sources, config)
        positions = await log.events(4_000)
        running = asyncio.create_task(Investigation(config, wanted("away", records_per_second=50)).run())
        before = await log.progressed("away", results=1)
        await asyncio.to_thread(broker.kill)
        await asyncio.sleep(1)
        assert not running.done()
        monkeypatch.setattr(Pace, "wait", lambda *_: 0.0)  # slow enough to be struck under way, it may be quick now
        await asyncio.to_thread(broker.start)
        assert await asyncio.wait_for(running, 90) is Ending.ENDED
        out = await log.output("away")
    assert 0 < before.matched < 4_000
    assert out.positions == sorted(positions)
    (end,) = out.terminals
    assert (end.state, end.count, end.digest) == (State.COMPLETED, 4_000, out.digest)
