"""Where a record that was keyed anew came from: a header of the re-keyed topic, of no other; a row of the timeline."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec

from replayer.core.outcome import Folding, Record, Rows, Send
from replayer.core.rows import (
    EVENT,
    FORMAT_BYTE,
    EventRow,
    decode_event,
    decoded,
    event_key,
    opened,
    origin_key,
    prefix_of,
)
from topics.catalogue import REKEYED_EVENTS, TEMPLATE_USAGE
from topics.usage import Usage, Use

_HEADER = "replayer-origin"
_NUMBER = re.compile("[0-9]{1,19}", re.ASCII)


class Origin(NamedTuple):
    """A source position, and the record's time there: milliseconds since the epoch."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int

    def header(self) -> tuple[str, bytes]:
        return _HEADER, f"{self.topic}/{self.partition}/{self.offset}/{self.timestamp_ms}".encode()


def origin_of(record: Record) -> Origin:
    """Where a record was first: where it is, unless it was keyed anew."""
    if record.topic == REKEYED_EVENTS.name:
        for name, value in record.headers:
            if name == _HEADER and (found := _read(value)) is not None:
                return found
    return Origin(record.topic, record.partition, record.offset, record.timestamp)


def _read(value: bytes | None) -> Origin | None:
    topic, *numbers = (value or b"").decode("utf-8", "replace").split("/")
    if not topic or len(numbers) != 3 or not all(map(_NUMBER.fullmatch, numbers)):
        return None
    partition, offset, timestamp_ms = map(int, numbers)
    return Origin(topic, partition, offset, timestamp_ms)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, int, int, int]).decode
_decode_usage = msgspec.msgpack.Decoder(Usage).decode


class Originated:
    """A fold of timelines that keeps beside each event where its record came from, and tells the index of that place.

    All else is as `fold` has it.
    """

    def __init__(self, fold: Callable[[Rows, Sequence[Record], int, int], Folding]) -> None:
        self._fold = fold

    def folding(self, rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folding:
        folded = yield from self._fold(rows, records, partition, now_ms)
        came = {record.offset: origin_of(record) for record in records if record.topic == REKEYED_EVENTS.name}
        if came:
            events = [
                (key, decode_event(prefix_of(key), key, value))
                for key, value in folded.rows
                if value is not None and key[:1] == EVENT
            ]
            folded.rows.extend(
                (origin_key(key), FORMAT_BYTE + _encode(came[row.offset])) for key, row in events if _anew(row)
            )
            folded.sends = [_of_the_origin(send, came) for send in folded.sends]
        return folded


def _of_the_origin(send: Send, came: Mapping[int, Origin]) -> Send:
    """What is said of uses, said of where they were first: `rekeyed-events` forgets."""
    if send.topic != TEMPLATE_USAGE.name or send.value is None:
        return send
    usage = _decode_usage(opened("usage", send.value))
    uses = [_first_used(use, came) for use in usage.uses]
    return replace(send, value=FORMAT_BYTE + _encode(msgspec.structs.replace(usage, uses=uses)))


def _first_used(use: Use, came: Mapping[int, Origin]) -> Use:
    at = came.get(use.offset) if use.topic == REKEYED_EVENTS.name else None
    if at is None:
        return use
    return msgspec.structs.replace(use, topic=at.topic, partition=at.partition, offset=at.offset)


def origins(rows: Rows, prefix: bytes, events: Sequence[EventRow]) -> list[Origin]:
    """Where the records of these events of a workflow were first. Raises UnknownRowFormat, DamagedRow."""
    keys = [origin_key(event_key(prefix, row.occurred_us, row.event_id, row.variant)) for row in events if _anew(row)]
    kept = iter(rows.get_many(keys))
    return [_first(row, next(kept) if _anew(row) else None) for row in events]


def _anew(row: EventRow) -> bool:
    return row.topic == REKEYED_EVENTS.name


def _first(row: EventRow, kept: bytes | None) -> Origin:
    if kept is None:
        return Origin(row.topic, row.partition, row.offset, row.commit_us // 1000)
    return Origin(*decoded("origin", kept, _decode))
