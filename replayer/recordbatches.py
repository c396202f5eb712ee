"""Record batches as aiokafka reads them, but no header's name stops a partition, and a record costs less.

Brokers take a header's name as bytes, whatever they are; aiokafka 0.14 decodes it as UTF-8 while it unpacks a fetch,
raises in the middle, and would do so again for ever. Here such a name comes with its odd bytes as backslash escapes,
and the record is like any other.

Its CRC-32C does without the processor's instruction for it, which a twentieth of a worker's time went to.

aiokafka's own records are dataclasses, made behind two calls for each: 1.06 µs of a worker's time, where these, of the
same fields, take 0.80, and cost less wherever they go. With the native library none is made that nobody asks for
(`replayer.core.unread`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import crc32c
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint_py

from replayer.core.fetched import Fetched
from replayer.core.unread import Part, Run, Unread, merged, part
from replayer.native.library import Library, NotDone
from replayer.native.wire import unread

_LENGTH = struct.Struct(">8xi")  # a batch's first fields: base offset, then how many bytes follow this one
_CRC = struct.Struct(">17xI")  # and the checksum of all that lies behind it
_MAGIC, _WITH_HEADERS = 16, 2  # where a batch says its format, and the first format that has headers
_HEADER = struct.Struct(">q13xhi2q14xi")  # base offset, attributes, -, first and greatest timestamp, how many records
_HEADER_BYTES = 61
_COMPRESSED, _APPENDED = 0x07, 0x08

_library: Library | None = None
"""What reads the records of this process; None: aiokafka."""


class TolerantRecords:
    """What aiokafka's fetcher takes for the record batches of one partition in a fetch."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        self._view = memoryview(data)
        self._records = MemoryRecords(data)
        self.at = ("", 0)  # topic and partition
        self._part: Part
        self._runs: dict[int, tuple[int, int]] = {}  # of the batches in the part, by where they start

    def size_in_bytes(self) -> int:
        return int(self._records.size_in_bytes())

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def next_batch(self) -> Any:
        """The next batch; None behind the last."""
        batch = self._records.next_batch()
        if batch is None:
            return None
        start = self._at
        self._at += _LENGTH.size + _LENGTH.unpack_from(self._view, start)[0]
        raw = self._view[start : self._at]
        return _Batch(batch, raw, self, start) if raw[_MAGIC] >= _WITH_HEADERS else batch

    def run(self, library: Library, start: int, raw: memoryview) -> Run:
        """The records of the batch that starts there. Raises NotDone."""
        offset, attributes, _, timestamp, greatest, records = _HEADER.unpack_from(raw)
        appended = bool(attributes & _APPENDED)
        if attributes & _COMPRESSED:
            data = _PatientBatch(raw).uncompressed()
            told = greatest if appended else timestamp
            index = library.index(data, 0, len(data), records, offset, told, appended=appended, before=0)
            return Run(part(*self.at, data, index, int(appended)), 0, records)
        if start not in self._runs:
            # All that follow at once: by itself, a batch of one record would cost more than aiokafka's record.
            index, table = library.index_on(self._data, start)
            self._part = part(*self.at, self._data, index, int(appended))
            self._runs = dict(zip(table[::3], zip(table[1::3], table[2::3], strict=True), strict=True))
        found = self._runs.get(start)
        if found is None:
            raise NotDone
        return Run(self._part, *found)


class _Batch:
    """aiokafka's own batch; only where it stumbles over a name is it read by the patient one.

    With the native library it has one record, which is all of them: `LeanPartition` knows.
    """

    def __init__(self, batch: Any, raw: memoryview, fetch: TolerantRecords, start: int) -> None:
        self._batch, self._raw, self._fetch, self._start = batch, raw, fetch, start

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def validate_crc(self) -> bool:
        return bool(_CRC.unpack_from(self._raw)[0] == crc32c.crc32c(self._raw[_CRC.size :]))

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        if _library is not None:
            try:
                found = self._fetch.run(_library, self._start, self._raw)
            except NotDone:
                pass  # whatever is wrong with it, aiokafka says so
            else:
                if found.start < found.end:
                    yield _All(found)
                return
        try:
            yield from self._batch
        except UnicodeDecodeError:
            # From its first record: the fetcher passes over those it has already.
            yield from _PatientBatch(self._raw)


class _All:
    """All records of a batch, as the one it has. `offset`: of the last."""

    __slots__ = ("offset", "run")

    def __init__(self, run: Run) -> None:
        self.run, self.offset = run, run.part.offset(run.end - 1)


class _PatientBatch(_DefaultRecordBatchPy):  # type: ignore[misc] # final, as far as type checkers go
    """aiokafka's batch in Python, with names that decode."""

    def uncompressed(self) -> bytes:
        super()._maybe_uncompress()
        return bytes(self._buffer)

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer: bytearray = _Bytes(self._buffer)

    def _read_msg(self) -> Any:
        return super()._read_msg(decode_varint_py)


class _Bytes(bytearray):
    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return _Name(found) if isinstance(found, bytearray) else found


class _Name(bytearray):
    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return super().decode(encoding, "backslashreplace")


class LeanPartition(fetcher.PartitionRecords):  # type: ignore[misc] # aiokafka has no types
    """What aiokafka's fetcher takes for the records of one partition in a fetch: Fetched, or stretches of them."""

    _records_iterator: Iterator[Any]  # of what `_consumer_record` makes

    def __init__(self, tp: Any, records: Any, *others: Any) -> None:
        super().__init__(tp, records, *others)
        if isinstance(records, TolerantRecords):
            records.at = (tp.topic, tp.partition)

    def __iter__(self) -> Iterator[Any]:
        return self._records_iterator

    def put_back(self, run: Run) -> None:
        """What comes next."""
        self._records_iterator = chain([run], self._records_iterator)

    def _consumer_record(self, tp: Any, record: Any) -> Fetched | Run:
        if isinstance(record, _All):
            run = record.run
            if run.part.offset(run.start) >= self.next_fetch_offset:
                return run
            return run.part.since(self.next_fetch_offset, run)  # a batch may begin below what was asked for
        key, value = record.key, record.value
        found = Fetched(
            tp.topic,
            tp.partition,
            record.offset,
            record.timestamp,
            record.timestamp_type,
            key,
            value,
            record.checksum,
            -1 if key is None else len(key),
            -1 if value is None else len(value),
            tuple(record.headers),
        )
        return found if _library is None else unread(_library, [found]).runs[0]


class LeanResult(fetcher.FetchResult):  # type: ignore[misc] # as above
    """What aiokafka's fetcher hands records out by: with the native library, unread."""

    _partition_records: Any

    def getone(self) -> Any:
        if _library is None:
            return super().getone()
        found = self.getall(1)
        return found[0] if found else None

    def getall(self, max_records: int | None = None) -> Sequence[Fetched]:
        if _library is None:
            return super().getall(max_records)  # type: ignore[no-any-return] # as above
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return Unread(())
        records, runs, count = self._partition_records, [], 0
        for run in records:
            room = run.end - run.start if max_records is None else max_records - count
            if run.end - run.start > room:
                records.put_back(run._replace(start=run.start + room))
                run = run._replace(end=run.start + room)
            runs.append(run)
            count += run.end - run.start
            records.next_fetch_offset = run.part.offset(run.end - 1) + 1
            if count == max_records:
                self._update_position()
                break
        else:
            self._update_position()
            self._partition_records = None
        return merged(runs)


def install(library: Library | None = None) -> None:
    """Have every consumer of this process read batches in this way. To be called before one fetches; again is nothing.

    `library`: what reads their records; the process keeps to the first. There is no door for it: the fetcher finds the
    classes by their names in its module.
    """
    global _library
    _library = _library or library
    fetcher.MemoryRecords = TolerantRecords
    fetcher.PartitionRecords = LeanPartition
    fetcher.FetchResult = LeanResult
