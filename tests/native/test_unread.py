"""Records that are read where they lie are those that aiokafka makes, however they are cut, put back or joined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import crc32c
import msgspec
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from replayer import recordbatches
from replayer.core.fetched import Fetched
from replayer.core.unread import Unread, joined
from replayer.engine.batch import split
from replayer.native.library import NotDone
from replayer.native.wire import unread, written
from replayer.recordbatches import LeanPartition, LeanResult, TolerantRecords
from tests.drawn import Log
from tests.native.agreement import library
from tests.oddrecords import Odd, batch

_BYTES = st.one_of(st.none(), st.binary(max_size=20), st.just(bytes(300)))
_ODD = st.tuples(_BYTES, _BYTES, st.lists(st.tuples(st.binary(max_size=6), _BYTES), max_size=3))
_PLAIN = st.tuples(_BYTES, _BYTES, st.lists(st.tuples(st.text(max_size=6).map(str.encode), _BYTES), max_size=3))
_batches = st.lists(st.lists(_PLAIN, min_size=1, max_size=4), max_size=5)

TP = TopicPartition("t", 3)


@pytest.fixture(autouse=True)
def _natively(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordbatches, "_library", library())


@dataclass
class Position:
    """What aiokafka keeps of an assigned partition."""

    position: int
    paused: bool = False

    def consumed_to(self, offset: int) -> None:
        self.position = offset


def log(batches: Sequence[Sequence[Odd]], kinds: Sequence[int] = (0,)) -> bytes:
    """Batches one behind the other, a hundred offsets apart, of these kinds in turn: a codec, 8 for the log's time."""
    raw = bytearray()
    for number, records in enumerate(batches):
        kind = kinds[number % len(kinds)]
        one = bytearray(batch(records, kind & 7))
        one[22] |= kind & 8
        one[35:43] = (77).to_bytes(8, "big")  # the greatest timestamp
        one[17:21] = crc32c.crc32c(one[21:]).to_bytes(4, "big")
        one[:8] = (100 * number).to_bytes(8, "big")  # the base offset: no checksum is over it
        raw += one
    return bytes(raw)


def result(raw: bytes, wanted: int) -> tuple[LeanResult, Position]:
    position = Position(wanted)
    records = LeanPartition(TP, TolerantRecords(raw), [], wanted, None, None, True, fetcher.READ_COMMITTED)
    assignment = SimpleNamespace(active=True, state_value=lambda _: position)
    return LeanResult(TP, assignment=assignment, partition_records=records, backoff=0), position


def by_aiokafka(raw: bytes, wanted: int) -> tuple[list[dict[str, Any]], int]:
    theirs = LeanPartition.__base__(
        TP, MemoryRecords(raw), [], wanted, None, None, True, fetcher.READ_COMMITTED
    )  # fmt: skip
    return [asdict(record) for record in theirs], theirs.next_fetch_offset


_kinds = st.lists(st.sampled_from([0, 0, 1, 3, 8, 9]), min_size=1, max_size=4)


@given(_batches, st.integers(0, 450), _kinds, st.integers(1, 9))
def test_what_is_handed_out_is_what_aiokafka_hands_out(
    batches: list[list[Odd]], wanted: int, kinds: list[int], at_a_time: int
) -> None:
    raw = log(batches, kinds)
    expected, reached = by_aiokafka(raw, wanted)
    whole, position = result(raw, wanted)
    found = whole.getall()
    assert [msgspec.structs.asdict(record) for record in found] == expected
    assert (position.position, whole.has_more()) == (reached, False)
    if set(kinds) in ({0}, {8}):
        assert len(found.runs) <= 1

    pieces, position = result(raw, wanted)
    taken: list[Fetched] = []
    while pieces.has_more():
        piece = pieces.getall(at_a_time)
        assert len(piece) <= at_a_time
        taken += piece
        assert position.position == (taken[-1].offset + 1 if pieces.has_more() else reached)
    assert taken == list(found)

    singly, position = result(raw, wanted)
    one_by_one = [record for record in iter(singly.getone, None)]
    assert one_by_one == list(found)
    assert position.position == reached


@given(st.lists(st.lists(_ODD, min_size=1, max_size=4), max_size=3), _kinds)
def test_header_names_of_any_bytes(batches: list[list[Odd]], kinds: list[int]) -> None:
    found = result(log(batches, kinds), 0)[0].getall()
    wanted = [headers for records in batches for _, _, headers in records]
    assert [record.headers for record in found] == [
        tuple((name.decode("utf-8", "backslashreplace"), value) for name, value in headers) for headers in wanted
    ]


@given(_batches, st.data())
def test_stretches_are_cut_and_joined_as_lists_are(batches: list[list[Odd]], data: st.DataObject) -> None:
    found = result(log(batches, data.draw(_kinds)), 0)[0].getall()
    assert isinstance(found, Unread)
    records = list(found)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(records)), max_size=3)))
    pieces = [found[start:end] for start, end in pairwise([0, *cuts, len(records)])]
    assert list(joined(pieces)) == records
    assert list(joined([*pieces, records])) == records * 2
    assert [found[number] for number in range(-len(records), len(records))] == records * 2
    for number in (len(records), -len(records) - 1):
        with pytest.raises(IndexError):
            found[number]
    assert list(found.pairs()) == [(record.key, record.value) for record in records]
    for piece in pieces:
        assert list(piece.pairs()) == [(record.key, record.value) for record in piece]
        assert piece.weight == sum(len(one.key or b"") + len(one.value or b"") for one in piece)
    offset = data.draw(st.integers(0, 500))
    assert list(found.since(offset)) == [record for record in records if record.offset >= offset]
    with pytest.raises(ValueError, match="stretches"):
        found[::2]


@given(_batches, st.integers(1, 6), st.integers(0, 700), st.booleans(), _kinds)
def test_a_fetch_is_split_as_a_list_is(
    batches: list[list[Odd]], most: int, most_bytes: int, later: bool, kinds: list[int]
) -> None:
    found = result(log(batches, kinds), 1 if later else 0)[0].getall()
    ours, theirs = (split("t", 3, records, 0, 999, 1, most, most_bytes) for records in (found, list(found)))
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert list(one.records) == list(other.records)
        for name in ("before", "after", "size", "offset", "timestamp"):
            assert getattr(one, name) == getattr(other, name)


def test_a_batch_that_holds_something_else_is_refused_as_aiokafka_refuses_it() -> None:
    raw = bytearray(log([[(b"k", b"v" * 50, [])]]))
    raw[-60] = 0x7E  # the record's length
    partition = LeanPartition(TP, TolerantRecords(bytes(raw)), [], 0, None, None, False, fetcher.READ_COMMITTED)
    with pytest.raises(CorruptRecordException):
        list(partition)


@given(st.binary(max_size=60), st.integers(0, 70), st.integers(0, 70), st.integers(-1, 5))
def test_whatever_is_indexed_is_indexed_or_refused(data: bytes, start: int, end: int, records: int) -> None:
    try:
        index = library().index(data, start, end, records, 0, 0, appended=False, before=0)
    except NotDone:
        return
    assert len(index) == 64 * records


def made() -> Iterator[Log]:
    yield Log("t", 2**63 - 1, b"v", key=None, timestamp=-1, headers=(("é", b"1"), ("b", None)), partition=-1)
    yield Log("u", 0, None, key=b"", timestamp=2**62)


def test_records_that_were_made_are_read_as_they_are() -> None:
    found = unread(library(), made())
    for one, other in zip(found, made(), strict=True):
        for name in ("topic", "partition", "offset", "timestamp", "key", "value", "headers"):
            assert getattr(one, name) == getattr(other, name)


def test_what_counts_on_beyond_its_place_is_refused() -> None:
    data = written(next(made()))
    with pytest.raises(NotDone):
        library().index(data, 0, len(data), 1, 0, 0, appended=False, before=2**63 - 1)
    with pytest.raises(NotDone):
        library().index(written(Log("t", 1, b"v")), 0, 7, 1, 2**63 - 1, 0, appended=False, before=0)
