"""What a fold sees and what it answers. The engine obeys it; nothing here does I/O.

A fold is a pure function of (rows, records, partition, time): the same arguments give the same answer,
so the engine may call it again for the same records after a failure. It is a generator: at each `yield` the engine may
let others work, its return value is the answer.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol


class Record(Protocol):
    """One record of a source log, as aiokafka's ConsumerRecord gives it."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int:
        """Milliseconds since the epoch: append time on topics the product owns."""
        ...

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


class Rows(Protocol):
    """One partition of a table. Iterators are synchronous; never hold one across an await."""

    def get(self, key: bytes) -> bytes | None: ...

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values in the order of the keys."""
        ...

    def scan(self, prefix: bytes, start: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Rows whose key starts with `prefix`, in key order, from `start` (inclusive) where given."""
        ...


@dataclass(frozen=True, slots=True)
class Send:
    """A record to produce in the same transaction as the rows. `partition` None: by the key's murmur2."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    partition: int | None = None


@dataclass(slots=True)
class Folded:
    """What a batch comes to: changelog rows in the order they must be appended (None deletes), and records to send.

    `implied` are rows that follow from `rows`: stored with them, but not in the changelog, for whoever reads that makes
    them anew (`engine.config.TableSpec.implied`). Where a key stands in both, `rows` is right.
    `counts` feeds metrics: names are short constants (`folded`, `duplicate`, `variant`, `dead_letter`, ...).
    """

    rows: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    implied: list[tuple[bytes, bytes]] = field(default_factory=list)
    sends: list[Send] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, other: Folded) -> None:
        """What other records of the same batch came to."""
        self.rows.extend(other.rows)
        self.implied.extend(other.implied)
        self.sends.extend(other.sends)
        for name, count in other.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count

    @property
    def stored(self) -> list[tuple[bytes, bytes | None]]:
        """All rows, in an order in which they may be written one after the other."""
        return [*self.implied, *self.rows]


Folding = Generator[None, None, Folded]
"""A fold under way."""


def whole(folding: Folding) -> Folded:
    """The fold without pauses."""
    while True:
        try:
            next(folding)
        except StopIteration as ended:
            folded: Folded = ended.value
            return folded
