"""The index as it is found somewhere, without what depends on which record brought it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from replayer.core.index import IndexFold
from replayer.core.outcome import Send
from replayer.core.shelf_head import decode_shelf_head
from replayer.core.shelf_rows import (
    CONTRIBUTION,
    EVALUATION,
    HEAD,
    USE,
    decode_contribution,
    decode_place,
)
from tests.drawn import Log, MemoryRows
from topics.catalogue import DEFAULT_MAX_RECORD_BYTES, TEMPLATE_USAGE

_AT_A_TIME = 200
_PASSING = {HEAD: (decode_shelf_head, "applied"), CONTRIBUTION: (decode_contribution, "applied")} | dict.fromkeys(
    (USE, EVALUATION), (decode_place, "brought")
)


def lasting(rows: Mapping[bytes, bytes]) -> dict[bytes, Any]:
    """All rows, without the offset of the record that brought them."""
    found: dict[bytes, Any] = {}
    for key, value in rows.items():
        if key[:1] in _PASSING:
            decode, passing = _PASSING[key[:1]]
            found[key] = msgspec.structs.replace(decode(value), **{passing: 0})  # type: ignore[operator] # one of three
        elif key[:1] in (b"w", b"t"):
            found[key] = value
    return found


def expected(usage: Iterable[Send]) -> dict[bytes, Any]:
    """What all of it comes to, whatever partitions it is spread over."""
    fold, rows = IndexFold(partition_of=lambda _: 0, max_record_bytes=DEFAULT_MAX_RECORD_BYTES), MemoryRows()
    told = [Log(TEMPLATE_USAGE.name, offset, send.value, key=send.key) for offset, send in enumerate(usage)]
    for start in range(0, len(told), _AT_A_TIME):
        rows.write(fold.fold(rows, told[start : start + _AT_A_TIME], 0, 0).stored)
    return lasting(rows)


def differences(expected: Mapping[bytes, Any], found: Mapping[bytes, Any]) -> list[str]:
    """Rows that are not there, should not be, or say something else."""
    return [
        f"{key!r} is {'missing' if key not in found else 'too much' if key not in expected else 'wrong'}"
        for key in sorted(expected.keys() | found.keys())
        if expected.get(key) != found.get(key)
    ]
