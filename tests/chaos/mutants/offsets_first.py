"""Mutation: how far the sources have been folded is committed before the rows that stand for it are in the changelog.

Between the two there is a pause point.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from replayer.cli import main
from replayer.core.outcome import Send
from replayer.engine.position import PREFIX
from replayer.engine.producer import LaneProducer
from tests.chaos.mutants.pausing import pause_point

_publish = LaneProducer.publish


async def publish(
    self: LaneProducer,
    rows: Sequence[tuple[bytes, bytes | None]],
    sends: Sequence[Send],
    offsets: Mapping[str, int],
) -> int | None:
    positions = [row for row in rows if row[0].startswith(PREFIX)]
    await _publish(self, positions, (), offsets)
    if len(rows) > len(positions):
        pause_point()
    return await _publish(self, [row for row in rows if not row[0].startswith(PREFIX)], sends, offsets)


if __name__ == "__main__":
    LaneProducer.publish = publish  # type: ignore[method-assign] # the mutation
    sys.exit(main())
