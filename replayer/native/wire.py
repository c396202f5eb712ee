"""Records that were made, written as they would lie in a log: native code is given records in no other way."""

from __future__ import annotations

from collections.abc import Iterable

from replayer.core.outcome import Record
from replayer.core.unread import Run, Unread, part
from replayer.native.library import Library


def unread(library: Library, records: Iterable[Record]) -> Unread:
    """The same records, each in a part of its own. Raises NotDone."""
    return Unread([_run(library, record) for record in records])


def _run(library: Library, record: Record) -> Run:
    data = written(record)
    index = library.index(data, 0, len(data), 1, record.offset, record.timestamp, appended=False, before=0)
    return Run(part(record.topic, record.partition, data, index, 0), 0, 1)


def written(record: Record) -> bytes:
    """As Kafka's record batches of format 2 have it, at their own offset and timestamp."""
    fields = [b"\0", _varint(0), _varint(0), *_field(record.key), *_field(record.value), _varint(len(record.headers))]
    for name, value in record.headers:
        fields += [*_field(name.encode("utf-8", "surrogateescape")), *_field(value)]
    body = b"".join(fields)
    return _varint(len(body)) + body


def _field(value: bytes | None) -> tuple[bytes, ...]:
    return (_varint(-1),) if value is None else (_varint(len(value)), value)


def _varint(number: int) -> bytes:
    """Seven bits to a byte, the sign in the lowest."""
    left = number << 1 if number >= 0 else (-number << 1) - 1
    found = bytearray()
    while left > 0x7F:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    found.append(left)
    return bytes(found)
