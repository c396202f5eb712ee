"""The product as it is, folding in Python, with a pause point before a step is published."""

from __future__ import annotations

import sys

from replayer.cli import main
from replayer.engine.producer import LaneProducer
from tests.chaos.mutants import sound
from tests.chaos.mutants.folding import in_python

if __name__ == "__main__":
    in_python()
    LaneProducer.publish = sound.publish  # type: ignore[method-assign] # the pause point
    sys.exit(main())
