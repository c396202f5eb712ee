"""Mutation: some event rows that are durable are not stored: the changelog is right, and what views say is not."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterable
from typing import Any

from replayer.cli import main
from replayer.core.rows import EVENT
from replayer.engine.producer import LaneProducer
from replayer.engine.store import BatchStore
from tests.chaos.mutants import sound

_batch = BatchStore._batch


def batch(self: BatchStore, rows: Iterable[tuple[bytes, bytes | None]], changelog_offset: int) -> Any:
    kept = [row for row in rows if row[0][:1] != EVENT or zlib.crc32(row[0]) % 50]
    return _batch(self, kept, changelog_offset)


if __name__ == "__main__":
    BatchStore._batch = batch  # type: ignore[method-assign] # the mutation
    LaneProducer.publish = sound.publish  # type: ignore[method-assign] # its pause point
    sys.exit(main())
