"""Any header name is read, and nothing else is read otherwise than aiokafka reads it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from replayer.recordbatches import LeanPartition, TolerantRecords, install
from tests.oddrecords import Odd, batch

_BYTES = st.one_of(st.none(), st.binary(max_size=20))
_ODD = st.tuples(_BYTES, _BYTES, st.lists(st.tuples(st.binary(max_size=6), _BYTES), max_size=3))
_PLAIN = st.tuples(_BYTES, _BYTES, st.lists(st.tuples(st.text(max_size=6).map(str.encode), _BYTES), max_size=3))


def read(records: Any) -> list[Any]:
    found: dict[int, Any] = {}  # by offset: the fetcher passes over what it has already
    base = 0
    while records.has_next():
        each = records.next_batch()
        for record in each:
            key = base + record.offset
            found.setdefault(key, (record.offset, record.timestamp, record.key, record.value, list(record.headers)))
        base += 1000
    return list(found.values())


@given(st.lists(st.lists(_ODD, min_size=1, max_size=4), max_size=3), st.sampled_from([0, 1]))
def test_every_record_of_every_batch_is_read(batches: list[list[Odd]], compression: int) -> None:
    found = read(TolerantRecords(b"".join(batch(records, compression) for records in batches)))
    wanted = [record for records in batches for record in records]
    assert [(key, value) for _, _, key, value, _ in found] == [(key, value) for key, value, _ in wanted]
    for (*_, headers), (_, _, raw) in zip(found, wanted, strict=True):
        assert headers == [(name.decode("utf-8", "backslashreplace"), value) for name, value in raw]


@given(st.lists(st.lists(_PLAIN, min_size=1, max_size=4), max_size=3), st.binary(max_size=30))
def test_what_aiokafka_can_read_is_read_alike(batches: list[list[Odd]], cut_off: bytes) -> None:
    raw = b"".join(batch(records) for records in batches) + cut_off[:11]  # a fetch may end in half a batch
    assert read(TolerantRecords(raw)) == read(MemoryRecords(raw))
    ours, theirs = TolerantRecords(raw), MemoryRecords(raw)
    assert ours.size_in_bytes() == theirs.size_in_bytes()
    while theirs.has_next():
        mine, other = ours.next_batch(), theirs.next_batch()
        for name in ("base_offset", "next_offset", "producer_id", "is_control_batch", "is_transactional"):
            assert getattr(mine, name) == getattr(other, name)
        assert mine.validate_crc()
        assert next(iter(mine)).offset == next(iter(other)).offset
    assert ours.next_batch() is None


@given(st.lists(st.lists(_PLAIN, min_size=1, max_size=4), max_size=3), st.integers(0, 5), st.integers(0, 9))
def test_records_are_aiokafka_s_field_by_field(batches: list[list[Odd]], wanted: int, pause: int) -> None:
    raw = b"".join(batch(records) for records in batches)
    ours, theirs = (
        made(TopicPartition("t", 3), TolerantRecords(raw), [], wanted, None, None, True, fetcher.READ_COMMITTED)
        for made in (LeanPartition, LeanPartition.__base__)
    )
    for number, mine in enumerate(ours):
        assert msgspec.structs.asdict(mine) == asdict(next(theirs))
        assert ours.next_fetch_offset == theirs.next_fetch_offset
        if number == pause:  # as a reader does that has enough, and comes again
            break
    assert [msgspec.structs.asdict(mine) for mine in ours] == [asdict(other) for other in theirs]
    assert ours.next_fetch_offset == theirs.next_fetch_offset
    assert next(ours, None) is None


def test_a_damaged_batch_is_still_found_damaged() -> None:
    raw = bytearray(batch([(b"k", b"v" * 50, [])]))
    raw[-3] ^= 1
    assert not TolerantRecords(bytes(raw)).next_batch().validate_crc()


def test_aiokafka_s_own_reader_stumbles_and_consumers_use_ours() -> None:
    """The day the first part fails, this module can go."""
    with pytest.raises(UnicodeDecodeError):
        read(MemoryRecords(batch([(b"k", b"v", [(b"\xff\xfe", b"")])])))
    install()
    assert fetcher.MemoryRecords is TolerantRecords
    assert fetcher.PartitionRecords is LeanPartition
