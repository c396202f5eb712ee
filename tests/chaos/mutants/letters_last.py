"""Mutation: at least once, what a step sends goes out when its rows are in the changelog already.

Between the two there is a pause point.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer

from replayer.cli import main
from replayer.core.outcome import Send
from replayer.engine.producer import LaneProducer
from tests.chaos.mutants.pausing import pause_point

_append = LaneProducer._append


async def append(
    self: LaneProducer, producer: AIOKafkaProducer, rows: Sequence[tuple[bytes, bytes | None]], sends: Sequence[Send]
) -> int | None:
    last = await _append(self, producer, rows, ())
    if sends:
        pause_point()
        await _append(self, producer, (), sends)
    return last


if __name__ == "__main__":
    LaneProducer._append = append  # type: ignore[method-assign] # the mutation
    sys.exit(main())
