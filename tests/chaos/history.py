"""What the source logs have held, also of what has been deleted from them since."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import TopicPartition

from tests.chaos import logs
from tests.chaos.brokerside import PARTITIONS
from tests.chaos.seen import At
from topics.catalogue import SOURCES

_TOPICS = [topic.name for topic in SOURCES]


class History:
    """`expired`: positions that were deleted before anybody had folded them; nobody can be asked for those."""

    def __init__(self, broker: str) -> None:
        self.expired: set[At] = set()
        self._broker = broker
        self._kept: dict[TopicPartition, dict[int, Any]] = {}

    def keep(self) -> None:
        """Read all there is, for something is about to be deleted."""
        for tp, found in asyncio.run(logs.records(self._broker, _TOPICS, PARTITIONS)).items():
            self._kept.setdefault(tp, {}).update((record.offset, record) for record in found)

    def records(self) -> dict[TopicPartition, list[Any]]:
        """Everything that could be folded, by partition, in the order of offsets."""
        self.keep()
        return {
            tp: [found[offset] for offset in sorted(found) if (*tp, offset) not in self.expired]
            for tp, found in self._kept.items()
        }
