"""Mutation: every record counts, be it one that has been counted."""

from __future__ import annotations

import os
import sys

from replayer.cli import main
from replayer.core import timeline
from replayer.engine.producer import LaneProducer
from tests.chaos.mutants import sound

if __name__ == "__main__":
    os.environ["REPLAYER_FOLD"] = "python"  # what is mutated must be what folds
    timeline._Batch._first_of_its_kind = lambda *_: 0  # type: ignore[method-assign] # the mutation
    LaneProducer.publish = sound.publish  # type: ignore[method-assign] # its pause point
    sys.exit(main())
