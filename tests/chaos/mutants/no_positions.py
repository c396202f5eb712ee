"""Mutation: a head's own positions are not believed where they are beyond the table's, as after a torn step."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from replayer.cli import main
from replayer.core import timeline
from replayer.engine.position import Position, position_key
from replayer.engine.producer import LaneProducer
from tests.chaos.mutants import torn
from tests.chaos.mutants.folding import in_python

_look_up = timeline._Batch._look_up


def look_up(self: timeline._Batch, decoded: Sequence[timeline._Decoded]) -> None:
    strangers = self._strangers
    _look_up(self, decoded)
    for applied in (workflow.head.applied for workflow in strangers if workflow.head is not None):
        for topic, offset in applied.items():
            value = self._rows.get(position_key(topic))
            applied[topic] = min(offset, Position.decode(value).next if value is not None else 0)


if __name__ == "__main__":
    in_python()
    timeline._Batch._look_up = look_up  # type: ignore[method-assign] # the mutation
    LaneProducer._append = torn.append  # type: ignore[method-assign] # its pause point
    sys.exit(main())
