"""Records as they lie in a fetch, each made only for whoever asks for it.

A worker that folds natively hands most of them on without ever looking: making them one by one, telling native code of
them and forgetting them again was a quarter of an event's time.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

from replayer.core.fetched import Fetched
from replayer.core.outcome import Record

#: The numbers of a record in its index, and their places: replayer/native/src/log.rs makes it.
NUMBERS = 8
_OFFSET, _KEY_AT, _KEY, _VALUE_AT, _VALUE, _BYTES = 0, 2, 3, 4, 5, 7


class Part(NamedTuple):
    """Records of one record batch: what is written of them, and the index of that.

    `index_bytes` holds for each record, as 64-bit integers: offset, timestamp, where its key begins in `data` and how
    long it is (-1: null), the same of its value, where its headers begin (-1: none), and the bytes of the keys and
    values up to and with its own.
    """

    topic: str
    partition: int
    data: bytes
    index_bytes: bytes
    timestamp_type: int
    numbers: memoryview  # the same, as numbers
    before: int  # bytes of keys and values that the index counts on from

    def record(self, at: int) -> Fetched:
        offset, timestamp, key_at, key, value_at, value, headers_at, _ = self.numbers[at * NUMBERS : (at + 1) * NUMBERS]
        data = self.data
        return Fetched(
            self.topic,
            self.partition,
            offset,
            timestamp,
            self.timestamp_type,
            None if key < 0 else data[key_at : key_at + key],
            None if value < 0 else data[value_at : value_at + value],
            None,
            key,
            value,
            () if headers_at < 0 else _headers(data, headers_at),
        )

    @property
    def records(self) -> int:
        return len(self.numbers) // NUMBERS

    def offset(self, at: int) -> int:
        return self.numbers[at * NUMBERS + _OFFSET]

    def since(self, offset: int, run: Run) -> Run:
        """Of a run of it those at this offset and above."""
        return run._replace(start=bisect_left(self.numbers[_OFFSET::NUMBERS], offset, run.start, run.end))

    def bytes_to(self, at: int) -> int:
        """Of the keys and values before record `at`, as the index counts them."""
        return self.numbers[(at - 1) * NUMBERS + _BYTES] if at else self.before


def part(topic: str, partition: int, data: bytes, index: bytes, timestamp_type: int, before: int = 0) -> Part:
    """Records of a batch by their index, which counts on from `before`."""
    return Part(topic, partition, data, index, timestamp_type, memoryview(index).cast("q"), before)


class Run(NamedTuple):
    """The records [start, end) of a part."""

    part: Part
    start: int
    end: int


class Unread(Sequence[Fetched]):
    """Runs of records, one behind the other. Slices and sums of it are made without a look at a record."""

    __slots__ = ("_ends", "runs")

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        ends, end = [], 0
        for run in runs:
            end += run.end - run.start
            ends.append(end)
        self._ends = ends

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Fetched]:
        for run in self.runs:
            for at in range(run.start, run.end):
                yield run.part.record(at)

    @overload
    def __getitem__(self, at: int) -> Fetched: ...
    @overload
    def __getitem__(self, at: slice) -> Unread: ...
    def __getitem__(self, at: int | slice) -> Fetched | Unread:
        if isinstance(at, slice):
            start, end, step = at.indices(len(self))
            if step != 1:
                raise ValueError("records are cut into stretches only")
            return self._cut(start, end)
        number = at + len(self) if at < 0 else at
        if not 0 <= number < len(self):
            raise IndexError(at)
        place = bisect_right(self._ends, number)
        run = self.runs[place]
        return run.part.record(run.end - (self._ends[place] - number))

    def _cut(self, start: int, end: int) -> Unread:
        runs, at = [], 0
        for run in self.runs:
            length = run.end - run.start
            first, behind = max(start - at, 0), min(end - at, length)
            if first < behind:
                runs.append(Run(run.part, run.start + first, run.start + behind))
            at += length
        return Unread(runs)

    def since(self, offset: int) -> Unread:
        """Those at this offset and above, of records in the order of their offsets."""
        runs = []
        for run in self.runs:
            behind = run.part.since(offset, run)
            if behind.start < behind.end:
                runs.append(behind)
        return Unread(runs)

    def pairs(self) -> Iterator[tuple[bytes | None, bytes | None]]:
        """Keys and values: all that a table's rows are, and cheaper than the records."""
        for run in self.runs:
            data = run.part.data
            told = run.part.numbers[run.start * NUMBERS : run.end * NUMBERS].tolist()
            fields = (told[place::NUMBERS] for place in (_KEY_AT, _KEY, _VALUE_AT, _VALUE))
            for key_at, key, value_at, value in zip(*fields, strict=True):
                yield (
                    None if key < 0 else data[key_at : key_at + key],
                    None if value < 0 else data[value_at : value_at + value],
                )

    @property
    def weight(self) -> int:
        """Bytes of their keys and values."""
        return sum(run.part.bytes_to(run.end) - run.part.bytes_to(run.start) for run in self.runs)

    def fitting(self, start: int, most: int, most_bytes: int) -> int:
        """Where a stretch from `start` on ends that has at most so many records and bytes; one always has room."""
        taken, room, at = 0, most_bytes, 0
        for run in self.runs:
            length = run.end - run.start
            first = run.start + max(start - at, 0)
            at += length
            if first >= run.end:
                continue
            before = run.part.bytes_to(first)
            behind = min(run.end, first + most - taken)
            fits = bisect_right(run.part.numbers[_BYTES::NUMBERS], before + room, first, behind)
            taken += fits - first
            room -= run.part.bytes_to(fits) - before
            if fits < run.end:
                break
        return start + max(taken, 1)


def merged(runs: Sequence[Run]) -> Unread:
    """These, those that follow each other in a part as one."""
    whole: list[Run] = []
    for run in runs:
        if whole and whole[-1].part is run.part and whole[-1].end == run.start:
            whole[-1] = whole[-1]._replace(end=run.end)
        else:
            whole.append(run)
    return Unread(whole)


def joined(several: Sequence[Sequence[Record]]) -> Sequence[Record]:
    """Records one behind the other: unread where all of them are."""
    runs: list[Run] = []
    for records in several:
        if not isinstance(records, Unread):
            return [record for each in several for record in each]
        runs += records.runs
    return Unread(runs)


def _headers(data: bytes, at: int) -> tuple[tuple[str, bytes | None], ...]:
    """A name that is no UTF-8 comes with its odd bytes as backslash escapes."""
    count, at = _varint(data, at)
    headers = []
    for _ in range(count):
        length, at = _varint(data, at)
        name, at = data[at : at + length].decode("utf-8", "backslashreplace"), at + length
        length, at = _varint(data, at)
        value, at = (None, at) if length < 0 else (data[at : at + length], at + length)
        headers.append((name, value))
    return tuple(headers)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number in seven bits to a byte, its sign in the lowest; and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at
        shift += 7
