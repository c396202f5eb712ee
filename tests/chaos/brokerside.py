"""What a run's broker holds, and what somebody with rights does to it behind everybody's back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import chain
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import NonEmptyGroup

from replayer.deployment import topics
from replayer.engine.position import PREFIX, Position
from replayer.kafka.admin import LogAdmin
from replayer.settings import Settings
from tests.chaos import logs
from tests.chaos.seen import At
from topics.catalogue import DEAD_LETTERS, SOURCES, TEMPLATE_USAGE, Topic

APP = "chaos"
PARTITIONS = 4
CHANGELOG = f"{APP}-timelines-changelog"


class BrokerSide:
    """Topics, offsets and rows of the app `APP`. Every question opens a client of its own: the broker may be away."""

    bootstrap: str
    broker_dir: Path
    delete_retention_h: float  # how long changelogs keep tombstones

    def __init__(self) -> None:
        self._lost_letters: list[tuple[At, str]] = []
        self._older_letters: dict[TopicPartition, int] = {}  # where those end that tables deleted since had sent

    @property
    def topics(self) -> tuple[Topic, ...]:
        """Every topic the workers need."""
        settings = Settings(
            broker=self.bootstrap, app_id=APP, partitions=PARTITIONS, delete_retention_h=self.delete_retention_h
        )
        return topics(settings)

    def create_topics(self) -> None:
        """Make what is missing."""
        self._ask(lambda admin: admin.create(self.topics, 1))

    def administer(self, act: Callable[[AIOKafkaAdminClient], Awaitable[Any]]) -> Any:
        """What somebody with rights does to the cluster behind everybody's back."""

        async def work() -> Any:
            client = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
            await client.start()
            try:
                return await act(client)
            finally:
                await client.close()

        return asyncio.run(work())

    def configure(self, topic: str, **settings: str) -> None:
        """Give a topic its usual settings but for these; underscores stand for the dots in their names."""
        (usual,) = (one.config() for one in self.topics if one.name == topic)
        named = {name.replace("_", "."): value for name, value in settings.items()}
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, usual | named)
        for answer in self.administer(lambda client: client.alter_configs([resource])):
            assert all(code == 0 for code, *_ in answer.resources), answer

    def copy_by_key(self, topic: str, partitions: int) -> dict[At, At]:
        """Move the records of a topic that has so many partitions into one made anew with the usual number.

        Those of a key stay in the order in which they were appended. Answers with where each was and where it is now.
        """
        found = asyncio.run(logs.records(self.bootstrap, [topic], partitions))
        self.administer(lambda client: client.delete_topics([topic]))
        self.create_topics()
        return asyncio.run(logs.append(self.bootstrap, chain.from_iterable(found.values()), PARTITIONS))

    def delete_tables(self) -> None:
        """Delete the changelogs, what the app sends to itself, and the group with its offsets, once its members'
        sessions are over. Dead letters stay, and do not count any more: everything will be folded again.
        """
        self._lost_letters, self._older_letters = [], self.ends_of(DEAD_LETTERS.name)

        async def delete(admin: LogAdmin) -> None:
            own = [
                one.name for one in self.topics if one.name.endswith("-changelog") or one.name == TEMPLATE_USAGE.name
            ]
            await admin.delete_topics(own)
            for _ in range(100):
                try:
                    await admin.delete_groups([APP])
                    return
                except NonEmptyGroup:
                    await asyncio.sleep(0.2)
            await admin.delete_groups([APP])

        self._ask(delete)
        self.create_topics()

    def lose_letters(self) -> None:
        """Delete the topic of dead letters, for now. What it held counts on."""
        self._lost_letters, self._older_letters = self.letters(), {}
        self.administer(lambda client: client.delete_topics([DEAD_LETTERS.name]))

    def begins(self) -> dict[TopicPartition, int]:
        """Where the source logs begin."""
        return dict(self._ask(lambda admin: admin.begin_offsets(sources())))

    def ends(self) -> dict[TopicPartition, int]:
        """Where the source logs end."""
        return dict(self._ask(lambda admin: admin.end_offsets(sources())))

    def ends_of(self, topic: str) -> dict[TopicPartition, int]:
        """Where the partitions of a topic end."""
        tps = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        return dict(self._ask(lambda admin: admin.end_offsets(tps)))

    def committed(self) -> dict[TopicPartition, int]:
        """Committed offsets of the group."""
        return dict(self._ask(lambda admin: admin.committed(APP)))

    def cleaned(self) -> dict[int, int]:
        """Up to which offset the broker's cleaner has compacted each partition of the changelog."""
        checkpoint = self.broker_dir / "log" / "cleaner-offset-checkpoint"
        lines = checkpoint.read_text().splitlines() if checkpoint.exists() else []
        entries = (line.split() for line in lines if line.startswith(f"{CHANGELOG} "))
        return {int(partition): int(offset) for _, partition, offset in entries}

    def records_of(self, *topics: str) -> dict[TopicPartition, list[Any]]:
        """What these hold, in the usual number of partitions."""
        return asyncio.run(logs.records(self.bootstrap, topics, PARTITIONS))

    def rows(self) -> dict[int, dict[bytes, bytes]]:
        """The timelines table as its changelog has it, by partition."""
        return asyncio.run(logs.table(self.bootstrap, CHANGELOG, PARTITIONS))

    def shelves(self) -> dict[bytes, bytes]:
        """The index as its changelog has it."""
        tables = asyncio.run(logs.table(self.bootstrap, f"{APP}-templates-changelog", PARTITIONS))
        return {key: value for table in tables.values() for key, value in table.items()}

    def positions(self) -> dict[TopicPartition, int]:
        """How far the sources have been folded, as the changelog says: what a restart goes by in each guarantee."""
        return {
            TopicPartition(key[len(PREFIX) :].decode(), partition): Position.decode(value).next
            for partition, table in self.rows().items()
            for key, value in table.items()
            if key.startswith(PREFIX)
        }

    def settled(self) -> dict[TopicPartition, int]:
        """How far the sources have been left behind for good, by what the changelog says or by what is committed."""
        committed, positions = self.committed(), self.positions()
        return {tp: max(committed.get(tp, 0), positions.get(tp, 0)) for tp in committed.keys() | positions.keys()}

    def letters(self) -> list[tuple[At, str]]:
        """All dead letters there have been since the tables were begun."""
        there = DEAD_LETTERS.name in self._ask(lambda admin: admin.partitions([DEAD_LETTERS.name]))
        found = asyncio.run(logs.dead_letters(self.bootstrap, PARTITIONS, self._older_letters)) if there else []
        return self._lost_letters + found

    def _ask(self, question: Callable[[LogAdmin], Awaitable[Any]]) -> Any:
        async def ask() -> Any:
            async with LogAdmin([self.bootstrap]) as admin:
                return await question(admin)

        return asyncio.run(ask())


def sources() -> list[TopicPartition]:
    """All partitions of the sources."""
    return [TopicPartition(topic.name, number) for topic in SOURCES for number in range(PARTITIONS)]
