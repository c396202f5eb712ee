"""Mutation: the table does not say which events it has: whoever folds, natively or not, takes each for new."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from replayer.cli import main
from replayer.core.rows import IDENTITY
from replayer.engine.producer import LaneProducer
from replayer.engine.rows import RocksRows
from tests.chaos.mutants import sound

_get_many = RocksRows.get_many


def get_many(self: RocksRows, keys: Sequence[bytes]) -> list[bytes | None]:
    found = _get_many(self, keys)
    return [None if key[:1] == IDENTITY else value for key, value in zip(keys, found, strict=True)]


if __name__ == "__main__":
    RocksRows.get_many = get_many  # type: ignore[method-assign] # the mutation
    LaneProducer.publish = sound.publish  # type: ignore[method-assign] # its pause point
    sys.exit(main())
