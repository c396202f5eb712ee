"""Rows of one table partition in RocksDB, and a layer of unwritten rows above them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, cast

import rocksdict

from replayer.core.errors import ReplayerError
from replayer.core.outcome import Rows


class StateUnreadable(ReplayerError):
    """The database cannot be read; the text is RocksDB's. `damaged`: its files are not what was written."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.damaged = is_damage(text)


class StateClosed(ReplayerError):
    """The database was closed under its reader: revoked, or set aside. What it would have said is not known."""


#: The system's words for a disk that does not take what is written, whatever file RocksDB was at: sound state.
_OF_THE_DISK = ("No space left on device", "Disk quota exceeded", "Read-only file system", "Permission denied")
_OF_DAMAGE = ("Corruption", "corrupt", "checksum mismatch", "MANIFEST", "CURRENT", "No such file")


def is_damage(text: str) -> bool:
    """Whether RocksDB's words for an error mean that its files are damaged (rocksdict raises bare `Exception`)."""
    return not any(words in text for words in _OF_THE_DISK) and any(words in text for words in _OF_DAMAGE)


class RocksRows:
    """Reads straight from the partition's database. Iterators are synchronous: a live one keeps the database open.

    A row that cannot be read is never an absent one: StateUnreadable is raised, after `tell` was called with it;
    StateClosed where the database is not open any more.
    """

    __slots__ = ("_db", "_tell")

    def __init__(self, db: Any, tell: Callable[[StateUnreadable], None] | None = None) -> None:
        self._db, self._tell = db, tell

    def get(self, key: bytes) -> bytes | None:
        try:
            return cast("bytes | None", self._db.get(key))
        except Exception as exc:  # noqa: BLE001 - rocksdict raises nothing narrower; sorted by `_refuse`
            self._refuse(exc)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        if not keys:
            return []
        try:
            return cast("list[bytes | None]", self._db.get(list(keys)))
        except Exception as exc:  # noqa: BLE001 - as above
            self._refuse(exc)

    def scan(self, prefix: bytes, start: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        last = start if start is not None and start > prefix else prefix
        for key, value in self._db.items(from_key=last):
            if not key.startswith(prefix):
                return
            yield key, value
            last = key
        # The end of the database, or a block that cannot be read: rocksdict's iterator ends alike for both.
        check = self._db.iter()
        check.seek(last)
        if check.valid():
            check.next()
        try:
            check.status()
        except Exception as exc:  # noqa: BLE001 - as above
            self._refuse(exc)

    def _refuse(self, exc: Exception) -> NoReturn:
        if isinstance(exc, rocksdict.DbClosedError):
            raise StateClosed("the database was closed") from exc
        if type(exc) is not Exception:  # a key of the wrong type: no word about the files
            raise exc
        unreadable = StateUnreadable(str(exc))
        if self._tell is not None:
            self._tell(unreadable)
        raise unreadable from exc


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
