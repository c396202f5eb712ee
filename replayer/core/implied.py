"""Rows that follow from others: stored with them, not in the changelog, and made anew where a changelog is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from replayer.core.head import Head, decode_head
from replayer.core.rows import (
    CORRELATION,
    EVENT,
    FIRST,
    FORMAT_BYTE,
    HEAD,
    TRACE,
    Sighting,
    decode_event,
    encode_sightings,
    identity_key,
    prefix_of,
    thread_key,
)


def implied(rows: Iterable[tuple[bytes, bytes | None]]) -> list[tuple[bytes, bytes]]:
    """The rows that follow from these. Raises UnknownRowFormat, DamagedRow."""
    found = []
    for key, value in rows:
        if value is None:
            continue
        if key[:1] == EVENT and len(value) > 1 and value[1] & FIRST:
            prefix = prefix_of(key)
            row = decode_event(prefix, key, value)
            seen = Sighting(row.variant, row.occurred_us, row.topic, row.partition, row.offset, row.index)
            found.append((identity_key(prefix, row.event_id), encode_sightings([seen])))
        elif key[:1] == HEAD:
            found += threads(key, decode_head(value))
    return found


def threads(key: bytes, head: Head) -> Iterator[tuple[bytes, bytes]]:
    """By which traces and correlations a workflow is found. `key`: its head's."""
    for kind, names in ((TRACE, head.trace_ids), (CORRELATION, head.correlation_ids)):
        for name in names:
            yield thread_key(kind, name, key), FORMAT_BYTE
