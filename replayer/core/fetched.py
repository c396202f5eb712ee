"""A record as it was fetched: small, cheap to make and to be rid of."""

from __future__ import annotations

import msgspec


class Fetched(msgspec.Struct, gc=False):
    """A `Record`, with the fields of aiokafka's ConsumerRecord in their order. Sizes are -1 for what there is none of.

    Nobody has to look for cycles in it.
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
