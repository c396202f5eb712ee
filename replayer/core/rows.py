"""Keys and values of the `timelines` table. Every value starts with a format version byte.

| key | value |
|---|---|
| `h` tenant NUL workflow | head (`core.head`) |
| `e` tenant NUL workflow NUL occurred(8) event_id NUL variant(8) | position, commit time, projection of the event |
| `i` tenant NUL workflow NUL event_id | the variants of this event id, and where each was first seen |
| `i` tenant NUL workflow NUL event_id NUL variant(8) | one variant, when there are more than MAX_INLINE of them |
| `o` as of `e` | where the event's record was before it was keyed anew (`core.origin`) |
| `d` tenant NUL workflow NUL decision | decision (`core.decisions`); the workflow's own has the empty name |
| `t` trace NUL tenant NUL workflow | nothing: the workflow has events of the trace |
| `c` correlation NUL tenant NUL workflow | the same of a business thread |

Some rows follow from others (`core.implied`): an event row that is the FIRST of its event id implies the identity row
with that one sighting, which is in the changelog only where there is more to say; a head implies those `t` and `c` that
it names, and only the others are there.

Ids hold no NUL and are bounded in characters, at most four bytes each: no key is longer than MAX_KEY_BYTES.
Times are microseconds since 1970; in keys they are shifted by 2^63, so that bytes order as instants do.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TypeVar

import msgspec

from replayer.core.errors import DamagedRow, UnknownRowFormat

HEAD, EVENT, IDENTITY, DECISION, ORIGIN = b"h", b"e", b"i", b"d", b"o"
TRACE, CORRELATION = b"t", b"c"
FORMAT = 1
FORMAT_BYTE = bytes([FORMAT])
EVENT_FORMATS = (1, 2)  # since 2 an event row may imply its identity row, which an older release would miss
NUL = b"\x00"
VARIANT_BYTES = 8
MAX_INLINE = 16
MAX_KEY_BYTES = 1 + 4 * 128 + 1 + 4 * 256 + 1 + 8 + 4 * 128 + 1 + VARIANT_BYTES

LATE = 1
FUTURE = 2
FIRST = 4  # of its event id, and where it was seen first: of this the identity row is made

_SHIFT = 2**63
_TIME = struct.Struct(">Q")
_HEADER = struct.Struct(">BBqqHIB")  # format, marks, commit_us, offset, index, partition, length of the topic's name


T = TypeVar("T")


def workflow_prefix(tenant_id: str, workflow_id: str) -> bytes:
    """What the keys of a workflow have in common, behind their first byte."""
    return tenant_id.encode() + NUL + workflow_id.encode() + NUL


def prefix_of(key: bytes) -> bytes:
    """`workflow_prefix` of a key that has one."""
    return key[1 : key.index(NUL, key.index(NUL) + 1) + 1]


def time(occurred_us: int) -> bytes:
    """An instant as bytes that order as instants do."""
    return _TIME.pack(occurred_us + _SHIFT)


def instant(key: bytes, at: int) -> int:
    """The instant that stands at this place of a key. Raises struct.error."""
    return int(_TIME.unpack_from(key, at)[0]) - _SHIFT


def head_key(tenant_id: str, workflow_id: str) -> bytes:
    return HEAD + tenant_id.encode() + NUL + workflow_id.encode()


def decision_key(prefix: bytes, decision_id: str | None) -> bytes:
    return DECISION + prefix + (decision_id or "").encode()


def identity_key(prefix: bytes, event_id: str) -> bytes:
    return IDENTITY + prefix + event_id.encode()


def event_key(prefix: bytes, occurred_us: int, event_id: str, variant: bytes) -> bytes:
    return EVENT + prefix + time(occurred_us) + event_id.encode() + NUL + variant


def thread_prefix(kind: bytes, name: str) -> bytes:
    """What the rows of a TRACE or a CORRELATION begin with."""
    return kind + name.encode() + NUL


def thread_key(kind: bytes, name: str, head: bytes) -> bytes:
    """Of a TRACE or a CORRELATION of a workflow. `head`: the key of its head."""
    return thread_prefix(kind, name) + head[1:]


def origin_key(event: bytes) -> bytes:
    """Of an event row's key."""
    return ORIGIN + event[1:]


def event_start(prefix: bytes, occurred_us: int) -> bytes:
    """The first key an event of this instant or a later one can have."""
    shifted = min(max(occurred_us + _SHIFT, 0), 2**64 - 1)
    return EVENT + prefix + _TIME.pack(shifted)


class EventRow(msgspec.Struct, frozen=True, gc=False):
    """One row of a timeline. `marks`: LATE, FUTURE, FIRST. `projection`: canonical JSON (topics.projection)."""

    occurred_us: int
    event_id: str
    variant: bytes
    marks: int
    commit_us: int
    topic: str
    partition: int
    offset: int
    index: int
    projection: bytes


def encode_event(
    marks: int, commit_us: int, topic: bytes, partition: int, offset: int, index: int, projection: bytes
) -> bytes:
    return b"%b%b%b" % (
        _HEADER.pack(EVENT_FORMATS[-1], marks, commit_us, offset, index, partition, len(topic)),
        topic,
        projection,
    )


def decode_event(prefix: bytes, key: bytes, value: bytes) -> EventRow:
    """The row under a key that starts with EVENT + prefix. Raises UnknownRowFormat, DamagedRow."""
    checked("event", value, EVENT_FORMATS)
    at = 1 + len(prefix)
    try:
        _, marks, commit_us, offset, index, partition, length = _HEADER.unpack_from(value)
        return EventRow(
            occurred_us=instant(key, at),
            event_id=key[at + 8 : -1 - VARIANT_BYTES].decode(),
            variant=key[-VARIANT_BYTES:],
            marks=marks,
            commit_us=commit_us,
            topic=value[_HEADER.size : _HEADER.size + length].decode(),
            partition=partition,
            offset=offset,
            index=index,
            projection=value[_HEADER.size + length :],
        )
    except (struct.error, UnicodeDecodeError) as damaged:
        raise DamagedRow("event") from damaged


class Sighting(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A variant of an event id: its content's hash, when it says it occurred, and where it was first seen."""

    variant: bytes
    occurred_us: int
    topic: str
    partition: int
    offset: int
    index: int = 0

    def at(self, topic: str, offset: int) -> bool:
        """Whether it was first seen in this record."""
        return self.offset == offset and self.topic == topic


_encode = msgspec.msgpack.Encoder().encode
_decode_sightings = msgspec.msgpack.Decoder(list[Sighting]).decode


def encode_sightings(sightings: list[Sighting]) -> bytes:
    return FORMAT_BYTE + _encode(sightings)


def decode_sightings(value: bytes) -> list[Sighting]:
    """Raises UnknownRowFormat, DamagedRow."""
    return decoded("identity", value, _decode_sightings)


def decoded(kind: str, value: bytes, decode: Callable[[bytes], T]) -> T:
    """What `decode`, msgspec's, makes of the value behind its format byte. Raises UnknownRowFormat, DamagedRow."""
    try:
        return decode(opened(kind, value))
    except (msgspec.MsgspecError, UnicodeDecodeError) as damaged:
        raise DamagedRow(kind) from damaged


def opened(kind: str, value: bytes) -> bytes:
    """The value behind its format byte. Raises as `checked` does."""
    checked(kind, value)
    return value[1:]


def checked(kind: str, value: bytes, known: tuple[int, ...] = (FORMAT,)) -> None:
    """Raises UnknownRowFormat where another version of replayer wrote the value, DamagedRow where there is none."""
    if not value:
        raise DamagedRow(kind)
    if value[0] not in known:
        raise UnknownRowFormat(kind, value[0], known)
