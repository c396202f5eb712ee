"""The product as it is, but for a pause point in the middle of a step's transaction: all is sent, nothing committed."""

from __future__ import annotations

import sys
from typing import Any

from replayer.cli import main
from replayer.engine.producer import LaneProducer
from tests.chaos.mutants.pausing import pause_point

_append = LaneProducer._append


async def append(self: LaneProducer, *arguments: Any) -> int | None:
    last = await _append(self, *arguments)
    if last is not None:
        pause_point()
    return last


if __name__ == "__main__":
    LaneProducer._append = append  # type: ignore[method-assign] # the mutation
    sys.exit(main())
