"""The product with a reducer that raises for some events: a fault of ours must be a dead letter, too."""

from __future__ import annotations

import os
import sys
from typing import Any

from replayer.cli import main
from replayer.core import timeline

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


if __name__ == "__main__":
    os.environ["REPLAYER_FOLD"] = "python"  # what is mutated must be what folds
    timeline._Batch._fold_one = fold_one  # type: ignore[method-assign] # the mutation
    sys.exit(main())
