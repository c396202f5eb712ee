"""The broker of a benchmark and its topics: made before a run, deleted behind it; no run meets another one's files."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code

from replayer.kafka.broker import EmbeddedBroker
from topics.catalogue import Topic


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running broker: where it listens, its Java process, an admin client."""

    bootstrap: str
    pid: int
    admin: AIOKafkaAdminClient


@contextlib.asynccontextmanager
async def cluster(heap_mb: int = 1024, properties: Mapping[str, str] | None = None) -> AsyncIterator[Cluster]:
    """An embedded broker with a temporary data directory, and `properties` of its own."""
    async with EmbeddedBroker(heap_mb=heap_mb, properties=properties) as broker:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await admin.start()
        try:
            yield Cluster(broker.bootstrap, broker.pid, admin)
        finally:
            await admin.close()


async def create(admin: AIOKafkaAdminClient, topics: Iterable[Topic]) -> None:
    """Create topics with the catalogue's settings; raises KafkaError where the broker refuses."""
    wanted = [NewTopic(topic.name, topic.partitions, 1, topic_configs=topic.config()) for topic in topics]
    answer = await admin.create_topics(wanted)
    for name, code, *_ in answer.topic_errors:
        if code:
            raise for_code(code)(name)
    for _ in range(100):
        if {topic.name for topic in wanted} <= set(await admin.list_topics()):
            return
        await asyncio.sleep(0.1)
    raise TimeoutError("the new topics did not appear")


async def delete(admin: AIOKafkaAdminClient, part: str) -> None:
    """Delete every topic whose name contains `part`."""
    doomed = [name for name in await admin.list_topics() if part in name and not name.startswith("__")]
    if doomed:
        await admin.delete_topics(doomed)
