"""Record batches as aiokafka reads them, but no header's name stops a partition, and a record costs less.

Brokers take a header's name as bytes, whatever they are; aiokafka 0.14 decodes it as UTF-8 while it unpacks a fetch,
raises in the middle, and would do so again for ever. Here such a name comes with its odd bytes as backslash escapes,
and the record is like any other.

Its CRC-32C does without the processor's instruction for it, which a twentieth of a worker's time went to.

aiokafka's own records are dataclasses, made behind two calls for each: 1.06 µs of a worker's time, where these, of the
same fields, take 0.80, and cost less wherever they go.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import crc32c
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint_py

from replayer.core.fetched import Fetched

_LENGTH = struct.Struct(">8xi")  # a batch's first fields: base offset, then how many bytes follow this one
_CRC = struct.Struct(">17xI")  # and the checksum of all that lies behind it
_MAGIC, _WITH_HEADERS = 16, 2  # where a batch says its format, and the first format that has headers


class TolerantRecords:
    """What aiokafka's fetcher takes for the record batches of one partition in a fetch."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = memoryview(data), 0
        self._records = MemoryRecords(data)

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
        self._at += _LENGTH.size + _LENGTH.unpack_from(self._data, start)[0]
        raw = self._data[start : self._at]
        return _Batch(batch, raw) if raw[_MAGIC] >= _WITH_HEADERS else batch


class _Batch:
    """aiokafka's own batch; only where it stumbles over a name is it read by the patient one."""

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch, self._raw = batch, raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def validate_crc(self) -> bool:
        return bool(_CRC.unpack_from(self._raw)[0] == crc32c.crc32c(self._raw[_CRC.size :]))

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._batch
        except UnicodeDecodeError:
            # From its first record: the fetcher passes over those it has already.
            yield from _PatientBatch(self._raw)


class _PatientBatch(_DefaultRecordBatchPy):  # type: ignore[misc] # final, as far as type checkers go
    """aiokafka's batch in Python, with names that decode."""

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
    """What aiokafka's fetcher takes for the records of one partition in a fetch."""

    def __iter__(self) -> Iterator[Fetched]:
        return self._records_iterator  # type: ignore[no-any-return] # of what `_consumer_record` makes

    def _consumer_record(self, tp: Any, record: Any) -> Fetched:
        key, value = record.key, record.value
        return Fetched(
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


def install() -> None:
    """Have every consumer of this process read batches in this way. To be called before one fetches; again is nothing.

    There is no door for it: the fetcher finds the classes by their names in its module.
    """
    fetcher.MemoryRecords = TolerantRecords
    fetcher.PartitionRecords = LeanPartition
