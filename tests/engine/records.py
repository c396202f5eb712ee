"""Records and logs for tests that need no broker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from replayer.engine.batch import Batch, split


@dataclass(frozen=True, slots=True)
class Rec:
    """A source record, as aiokafka's ConsumerRecord gives it."""

    offset: int
    value: bytes | None = b"v"
    key: bytes | None = b"k"
    topic: str = "t"
    partition: int = 0
    timestamp: int = 1
    headers: Sequence[tuple[str, bytes]] = field(default=())


class Log:
    """One partition: records at some offsets, nothing a reader sees at the others (markers, compaction)."""

    def __init__(self, offsets: Sequence[int], end: int, start: int = 0, salt: bytes = b"") -> None:
        self.records = [Rec(offset, b"%s%d" % (salt, offset)) for offset in sorted(offsets)]
        self.start, self.end = start, end

    def fetch(self, before: int, count: int, epoch: int, max_records: int = 3) -> list[Batch]:
        """What a fetch of `count` offsets from `before` brings: a gap first where `before` has expired."""
        if before < self.start:
            return [Batch("t", 0, (), before, self.start, epoch, gap=(before, self.start))]
        if before > self.end:
            return [Batch("t", 0, (), before, before, epoch, beyond=(before, self.end))]
        after = min(before + count, self.end)
        found = [record for record in self.records if before <= record.offset < after]
        return split("t", 0, found, before, after, epoch, max_records, 1 << 20) if after > before else []
