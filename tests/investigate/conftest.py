"""Topics of their own for every test, with real events in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from replayer.core.replays import OpenReplay
from replayer.investigate.config import InvestigateConfig
from replayer.kafka.admin import LogAdmin
from replayer.kafka.partitioner import partition_of
from replayer.kafka.reader import LogReader
from topics.catalogue import POLICY_EVENTS, REPLAY_PROGRESS, REPLAY_RESULTS, TOOL_EVENTS, Topic
from topics.codec import Undecodable, encode
from topics.commands import FromEarliest, ReplayCommand, ReplaySpec, SelectEverything
from topics.families.policy import PolicyEvaluated
from topics.progress import ReplayProgress, decode_progress
from topics.results import ReplayResult, TerminalRecord, add_digests, decode_result, digest_hex, result_digest

PARTITIONS = 3
DAY = datetime(2025, 3, 1, tzinfo=UTC)


def command(replay_id: str = "r", **spec: object) -> ReplayCommand:
    said: dict[str, object] = {
        "name": "INC-7",
        "purpose": "why",
        "selection": SelectEverything(),
        "range": FromEarliest(),
    }
    return ReplayCommand(
        command_id=f"start-{replay_id}",
        replay_id=replay_id,
        action="start",
        requester="ada",
        requested_at=DAY,
        spec=ReplaySpec.model_validate(said | spec),
    )


def wanted(replay_id: str, **spec: object) -> OpenReplay:
    return OpenReplay(command(replay_id, **spec), cancelled=False, version=0)


def event(number: int, workflow: str, tenant: str = "acme") -> bytes:
    return encode(
        PolicyEvaluated(policy_id="pii", outcome="deny" if number % 5 == 0 else "allow"),
        event_id=f"e-{number}",
        workflow_id=workflow,
        occurred_at=DAY + timedelta(seconds=number),
        tenant_id=tenant,
        source="guard",
        agent_id="support",
        subject_id="somebody",
    )


@dataclass
class Output:
    """What a replay has left in the log."""

    results: list[ReplayResult] = field(default_factory=list)
    terminals: list[TerminalRecord] = field(default_factory=list)
    progress: list[ReplayProgress] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

    @property
    def positions(self) -> list[tuple[str, int, int]]:
        return sorted((it.position.topic, it.position.partition, it.position.offset) for it in self.results)

    @property
    def digest(self) -> str:
        """Computed anew from the results themselves."""
        shares = (
            result_digest(p.topic, p.partition, p.offset, it.sha256) for it in self.results for p in [it.position]
        )
        return digest_hex(add_digests(*shares))


@dataclass
class Log:
    """One test's topics on the broker."""

    broker: str
    sources: tuple[str, ...]
    config: InvestigateConfig

    async def produce(
        self, records: Sequence[tuple[str, bytes | None, bytes | None]], *, transactional: str | None = None
    ) -> list[tuple[str, int, int]]:
        """(topic, key, value)s by the keys' murmur2, 100 a transaction where asked; answers with positions."""
        producer = AIOKafkaProducer(bootstrap_servers=self.broker, transactional_id=transactional, linger_ms=5)
        await producer.start()
        where: list[tuple[str, int, int]] = []
        try:
            for start in range(0, len(records), 100):
                if transactional:
                    await producer.begin_transaction()
                sent = [await self._send(producer, *record) for record in records[start : start + 100]]
                where += [(done.topic, done.partition, done.offset) for done in [await future for future in sent]]
                if transactional:
                    await producer.commit_transaction()
        finally:
            await producer.stop()
        if transactional:
            await self._decided({TopicPartition(topic, partition) for topic, partition, _ in where})
        return where

    async def _decided(self, partitions: set[TopicPartition]) -> None:
        """Wait for the markers: a commit is confirmed a moment before they are written."""
        async with asyncio.timeout(60), LogAdmin([self.broker]) as admin:
            while True:
                if await admin.end_offsets(partitions) == await admin.end_offsets(partitions, "read_uncommitted"):
                    return
                await asyncio.sleep(0.02)

    async def _send(self, producer: AIOKafkaProducer, topic: str, key: bytes | None, value: bytes | None) -> Any:
        partition = partition_of(key or b"", PARTITIONS)
        return await producer.send(topic, value, key, partition)

    async def events(
        self, count: int, *, workflows: int = 7, tenants: Sequence[str] = ("acme",), transactional: str | None = None
    ) -> list[tuple[str, int, int]]:
        """`count` events over all sources; answers with their positions, in the order of their numbers."""
        return await self.produce(
            [
                (self.sources[n % len(self.sources)], f"w-{n % workflows}".encode(),
                 event(n, f"w-{n % workflows}", tenants[n // workflows % len(tenants)]))
                for n in range(count)
            ],
            transactional=transactional,
        )  # fmt: skip

    async def output(self, replay_id: str) -> Output:
        """All committed records of one replay in the results and progress topics; what is undecided is waited for."""
        found = Output()
        key = replay_id.encode()
        async with LogAdmin([self.broker]) as admin, LogReader([self.broker]) as reader:
            for topic in (self.config.results_topic, self.config.progress_topic):
                tp = TopicPartition(topic, partition_of(key, PARTITIONS))
                ends = await admin.end_offsets([tp], "read_uncommitted")
                async for batch in reader.read({tp: (0, ends[tp])}):
                    for record in batch.records:
                        if record.key == key:
                            self._sort_in(found, topic, record.offset, record.value)
        return found

    def _sort_in(self, found: Output, topic: str, offset: int, value: bytes | None) -> None:
        said = decode_progress(value) if topic == self.config.progress_topic else decode_result(value)
        assert not isinstance(said, Undecodable), said
        if isinstance(said, ReplayProgress):
            found.progress.append(said)
            return
        found.offsets.append(offset)
        if isinstance(said, ReplayResult):
            assert not found.terminals, "a result after the terminal record"
            found.results.append(said)
        else:
            found.terminals.append(said)

    async def progressed(self, replay_id: str, results: int = 0, timeout_s: float = 60.0) -> ReplayProgress:
        """Wait for a progress record that counts at least so many results.

        A replay that must still run then is given a rate at which it cannot have ended within the time-out.
        """
        async with asyncio.timeout(timeout_s):
            while True:
                for said in (await self.output(replay_id)).progress:
                    if said.matched >= results:
                        return said
                await asyncio.sleep(0.05)

    async def ended(self, *replay_ids: str) -> bool:
        """Whether each of them has its terminal record."""
        return all([bool((await self.output(replay_id)).terminals) for replay_id in replay_ids])

    async def groups(self) -> dict[str, str]:
        async with LogAdmin([self.broker]) as admin:
            return await admin.groups()


@pytest.fixture
async def log(broker: str, unique: Callable[[str], str]) -> AsyncIterator[Log]:
    """Two source topics and the replay topics, under names of this test's own."""

    def own(topic: Topic) -> Topic:
        return replace(topic, name=unique(topic.name), partitions=PARTITIONS)

    policy, tool, progress, results = map(own, (POLICY_EVENTS, TOOL_EVENTS, REPLAY_PROGRESS, REPLAY_RESULTS))
    async with LogAdmin([broker]) as admin:
        await admin.create([policy, tool, progress, results])
    sources = (policy.name, tool.name)
    config = InvestigateConfig(
        brokers=[broker],
        partition_of=partition_of,
        sources=sources,
        progress_topic=progress.name,
        results_topic=results.name,
        commit_interval_s=0.2,
        backoff_s=0.05,
        transaction_timeout_s=20.0,
    )
    yield Log(broker, sources, config)
    async with LogAdmin([broker]) as admin:
        await admin.delete_topics([policy.name, tool.name, progress.name, results.name])
