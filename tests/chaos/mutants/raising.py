"""The product with a reducer that raises for some events: a fault of ours must be a dead letter, too.

Native or in Python, whichever the worker has: what does not raise is folded as it would be.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from replayer.cli import main
from replayer.core import timeline
from replayer.core.outcome import Folding, Record, Rows
from replayer.native.fold import NativeFold

SIGN = b"raises-"
"""How the `source` of the events begins that it cannot take."""


def raises(value: bytes | None) -> bool:
    """Whether it cannot take this record."""
    return value is not None and b'"source":"' + SIGN in value


_fold_one = timeline._Batch._fold_one


def fold_one(self: Any, workflow: Any, head: Any, record: Any, event: Any, content: bytes, identity: bytes) -> None:
    _fold_one(self, workflow, head, record, event, content, identity)
    if event.source.startswith(SIGN.decode()):
        raise ValueError("a reducer with a fault")


_folding = NativeFold.folding


def folding(self: NativeFold, rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folding:
    folded = yield from _folding(self, rows, records, partition, now_ms)
    if any(raises(record.value) for record in records):
        raise ValueError("a reducer with a fault")
    return folded


if __name__ == "__main__":
    NativeFold.folding = folding  # type: ignore[method-assign] # the mutation
    timeline._Batch._fold_one = fold_one  # type: ignore[method-assign] # the mutation
    sys.exit(main())
