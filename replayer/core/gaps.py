"""Stretches of a source that had expired before they were folded, as rows of the table that lacks them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from replayer.core.errors import UnknownRowFormat
from replayer.core.outcome import Rows
from topics.fields import rfc3339

PREFIX: Final = b"g"
MOST: Final = 100
"""Gaps served of one partition. They are rare; where they are not, the first hundred tell as much."""

_FORMAT = 1
_LAYOUT = struct.Struct(">BQQQ")


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets [start, end) of a source had expired before they were folded. `found_ms`: when that was noticed."""

    topic: str
    start: int
    end: int
    found_ms: int

    def row(self) -> tuple[bytes, bytes]:
        key = PREFIX + self.topic.encode() + b"\x00" + struct.pack(">Q", self.start)
        return key, _LAYOUT.pack(_FORMAT, self.start, self.end, self.found_ms)

    @classmethod
    def from_row(cls, key: bytes, value: bytes) -> Gap:
        """Raises UnknownRowFormat where another version of replayer wrote the row."""
        if value[0] != _FORMAT:
            raise UnknownRowFormat("gap", value[0], (_FORMAT,))
        _, start, end, found = _LAYOUT.unpack(value)
        return cls(key[1:-9].decode(), start, end, found)  # 9: NUL and the eight bytes of start


def described(rows: Rows, partition: int) -> list[dict[str, Any]]:
    """The partition's gaps as JSON-ready data, by topic and offset, at most `MOST` of them."""
    found = (Gap.from_row(key, value) for key, value in islice(rows.scan(PREFIX), MOST))
    return [
        {
            "topic": gap.topic,
            "partition": partition,
            "start": gap.start,
            "end": gap.end,
            "found_at": rfc3339(gap.found_ms * 1000),
        }
        for gap in found
    ]
