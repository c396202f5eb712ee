"""Mutation: every record counts, be it one that has been counted."""

from __future__ import annotations

import sys

from replayer.cli import main
from replayer.core import timeline
from replayer.engine.producer import LaneProducer
from tests.chaos.mutants import sound
from tests.chaos.mutants.folding import in_python

if __name__ == "__main__":
    in_python()
    timeline._Batch._first_of_its_kind = lambda *_: 0  # type: ignore[method-assign] # the mutation
    LaneProducer.publish = sound.publish  # type: ignore[method-assign] # its pause point
    sys.exit(main())
