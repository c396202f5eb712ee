"""Mutation: a step sends what it sends twice."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer

from replayer.cli import main
from replayer.core.outcome import Send
from replayer.engine.producer import LaneProducer
from tests.chaos.mutants import sound

_append = LaneProducer._append


async def append(
    self: LaneProducer, producer: AIOKafkaProducer, rows: Sequence[tuple[bytes, bytes | None]], sends: Sequence[Send]
) -> int | None:
    return await _append(self, producer, rows, [*sends, *sends])


if __name__ == "__main__":
    LaneProducer._append = append  # type: ignore[method-assign] # the mutation
    LaneProducer.publish = sound.publish  # type: ignore[method-assign] # its pause point
    sys.exit(main())
