"""Where a record that was keyed anew came from: a header of the re-keyed topic, and of no other."""

from __future__ import annotations

import re
from typing import NamedTuple

from replayer.core.outcome import Record
from topics.catalogue import REKEYED_EVENTS

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
