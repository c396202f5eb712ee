"""The product as it is, but for a pause point before a step is published."""

from __future__ import annotations

import sys
from typing import Any

from replayer.cli import main
from replayer.engine.producer import LaneProducer
from tests.chaos.mutants.pausing import pause_point

_publish = LaneProducer.publish


async def publish(self: LaneProducer, *step: Any) -> int | None:
    pause_point()
    return await _publish(self, *step)


if __name__ == "__main__":
    LaneProducer.publish = publish  # type: ignore[method-assign] # the mutation
    sys.exit(main())
