"""A record as it was fetched: small, cheap to make and to be rid of, and native code can be told of it as it is."""

from __future__ import annotations

import msgspec

from replayer.core.outcome import Record


class Fetched(msgspec.Struct, array_like=True, gc=False):
    """A `Record`, with the fields of aiokafka's ConsumerRecord in their order. Sizes are -1 for what there is none of.

    Nobody has to look for cycles in it. MessagePack is an array of the fields: replayer/native/src/step.rs reads it.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    checksum: int | None
    serialized_key_size: int
    serialized_value_size: int
    headers: tuple[tuple[str, bytes | None], ...]


def fetched(record: Record) -> Fetched:
    """Any other record, as one of these."""
    key, value = record.key, record.value
    return Fetched(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        0,
        key,
        value,
        None,
        -1 if key is None else len(key),
        -1 if value is None else len(value),
        tuple(record.headers),
    )
