"""How far a table partition has been folded, per source topic: stored as a row, with the rows it stands for."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from replayer.core.errors import UnknownRowFormat
from replayer.core.outcome import Record

PREFIX = b"p"
_FORMAT = 1
_BLANK = bytes(16)
_LAYOUT = struct.Struct(">BQQ16s")


@dataclass(frozen=True, slots=True)
class Position:
    """`next` is the first offset not folded; `last` and `fingerprint` are of the record before it.

    The record is read again at assignment: another fingerprint means another log under the same name. Behind a gap
    there is no such record: the fingerprint is blank.
    """

    next: int
    last: int
    fingerprint: bytes

    @classmethod
    def behind_gap(cls, after: int) -> Position:
        return cls(after, after, _BLANK)

    @property
    def verifiable(self) -> bool:
        return self.fingerprint != _BLANK

    def encode(self) -> bytes:
        return _LAYOUT.pack(_FORMAT, self.next, self.last, self.fingerprint)

    @classmethod
    def decode(cls, value: bytes) -> Position:
        """Raises UnknownRowFormat where another version of replayer wrote the row."""
        if value[0] != _FORMAT:
            raise UnknownRowFormat("position", value[0], (_FORMAT,))
        _, after, last, digest = _LAYOUT.unpack(value)
        return cls(after, last, digest)


def fingerprint(record: Record) -> bytes:
    """16 bytes over what a log keeps of a record: timestamp, key, value."""
    digest = hashlib.blake2b(struct.pack(">qq", record.offset, record.timestamp), digest_size=16)
    for part in (record.key, record.value):
        digest.update(b"\x00" if part is None else b"\x01" + len(part).to_bytes(8, "big") + part)
    return digest.digest()


def position_key(topic: str) -> bytes:
    return PREFIX + topic.encode()
