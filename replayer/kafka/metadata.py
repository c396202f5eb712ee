"""Asks which topics exist without making them: aiokafka's own metadata requests let a cluster create what they name."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from replayer.kafka.errors import BrokerUnreachable


@dataclass(frozen=True, slots=True)
class Described:
    """A topic that exists. `led`: every partition has a leader."""

    partitions: int
    led: bool


async def describe(client: Any, names: Collection[str]) -> dict[str, Described]:
    """Those of the topics that exist. `client` is a started AIOKafkaClient. Raises BrokerUnreachable."""
    if not names:
        return {}
    metadata = await _ask(client, MetadataRequest(sorted(names), allow_auto_topic_creation=False))
    return {
        topic["topic"]: Described(len(topic["partitions"]), all(part["leader"] >= 0 for part in topic["partitions"]))
        for topic in metadata.to_object()["topics"]
        if topic["error_code"] == 0
    }


async def _ask(client: Any, request: MetadataRequest) -> Any:
    for wait_s in (0.1, 0.2, 0.4, 0.8, None):
        try:
            return await client.send(client.get_random_node(), request)
        except KafkaError as error:
            if wait_s is None or not error.retriable:
                raise BrokerUnreachable(f"The cluster does not answer a question for its topics ({error}).") from error
        await asyncio.sleep(wait_s)
