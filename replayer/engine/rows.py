"""Rows of one table partition in RocksDB, and a layer of unwritten rows above them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from replayer.core.outcome import Rows


class RocksRows:
    """Reads straight from the partition's database. Iterators are synchronous: a live one keeps the database open."""

    __slots__ = ("_db",)

    def __init__(self, db: Any) -> None:
        self._db = db

    def get(self, key: bytes) -> bytes | None:
        return cast("bytes | None", self._db.get(key))

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return cast("list[bytes | None]", self._db.get(list(keys))) if keys else []

    def scan(self, prefix: bytes, start: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        for key, value in self._db.items(from_key=start if start is not None and start > prefix else prefix):
            if not key.startswith(prefix):
                return
            yield key, value


class Overlay:
    """Rows written but not yet stored, over rows that are: what the next record of the same step must see."""

    def __init__(self, below: Rows) -> None:
        self._below = below
        self._written: dict[bytes, bytes | None] = {}

    def write(self, rows: Sequence[tuple[bytes, bytes | None]]) -> None:
        self._written.update(rows)

    def get(self, key: bytes) -> bytes | None:
        return self._written[key] if key in self._written else self._below.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    def scan(self, prefix: bytes, start: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        first = start if start is not None and start > prefix else prefix
        merged: dict[bytes, bytes | None] = dict(self._below.scan(prefix, start))
        merged.update((k, v) for k, v in self._written.items() if k.startswith(prefix) and k >= first)
        for key in sorted(merged):
            value = merged[key]
            if value is not None:
                yield key, value
