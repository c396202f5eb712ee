"""The product as it is, but a step's rows go to the changelog in two pieces, with a pause point between them.

The second piece is the positions: as if a batch had ended just before them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer

from replayer.cli import main
from replayer.core.outcome import Send
from replayer.engine.position import PREFIX
from replayer.engine.producer import LaneProducer
from tests.chaos.mutants.pausing import pause_point

_append = LaneProducer._append


async def append(
    self: LaneProducer, producer: AIOKafkaProducer, rows: Sequence[tuple[bytes, bytes | None]], sends: Sequence[Send]
) -> int | None:
    others = [row for row in rows if not row[0].startswith(PREFIX)]
    if others:
        await _append(self, producer, others, sends)
        pause_point()
        sends = ()
    return await _append(self, producer, rows[len(others) :], sends)


if __name__ == "__main__":
    LaneProducer._append = append  # type: ignore[method-assign] # the tear
    sys.exit(main())
