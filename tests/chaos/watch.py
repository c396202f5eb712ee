"""A group's committed offsets as they move, sampled as long as a run takes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Self

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from replayer.kafka.admin import LogAdmin
from replayer.kafka.errors import LogError

_EVERY_S = 0.2


class OffsetWatch:
    """Use as `with`. `steps_back` collects each offset that was seen lower than before."""

    def __init__(self, broker: str, group: str) -> None:
        self.steps_back: list[str] = []
        self.last: dict[TopicPartition, int] = {}
        self.samples = 0
        self._broker, self._group = broker, group
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._watch()), name="offsets", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(60)

    def forget(self) -> None:
        """What was committed before is of logs that are gone."""
        self.last = {}

    async def _watch(self) -> None:
        while not self._ended.is_set():
            try:
                async with LogAdmin([self._broker]) as admin:
                    while not self._ended.is_set():
                        self._note(await asyncio.wait_for(admin.committed(self._group), 5.0))
                        await asyncio.sleep(_EVERY_S)
            except (KafkaError, LogError, OSError, TimeoutError):
                await asyncio.sleep(_EVERY_S)  # the broker is away: asked again

    def _note(self, found: Mapping[TopicPartition, int]) -> None:
        self.samples += 1
        for tp, offset in found.items():
            if offset < self.last.get(tp, 0):
                self.steps_back.append(
                    f"committed offset of {tp.topic}[{tp.partition}]: {self.last[tp]}, then {offset}"
                )
            self.last[tp] = offset
