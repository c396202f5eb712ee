"""A fetch is cut into batches that cover it: no hole, no overlap, within the limits."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from replayer.engine.batch import split
from tests.engine.records import Rec


@st.composite
def fetches(draw):
    before = draw(st.integers(0, 1000))
    steps = draw(st.lists(st.integers(1, 4), max_size=40))  # above 1: markers and compaction holes between records
    sizes = draw(st.lists(st.integers(0, 50), min_size=len(steps), max_size=len(steps)))
    offset, records = before - 1, []
    for step, size in zip(steps, sizes, strict=True):
        offset += step
        records.append(Rec(offset, bytes(size) if size else None, None if size % 2 else b"key"))
    after = offset + 1 + draw(st.integers(0, 3))
    return before, after, records


def weight(record):
    return len(record.value or b"") + len(record.key or b"")


@given(fetches(), st.integers(1, 10), st.integers(1, 120))
def test_batches_cover_the_fetch_within_the_limits(fetch, max_records, max_bytes):
    before, after, records = fetch
    batches = split("t", 3, records, before, after, 7, max_records, max_bytes)

    assert [record for batch in batches for record in batch.records] == records
    assert batches[0].before == before
    assert batches[-1].after == after
    for one, next_one in itertools.pairwise(batches):
        assert one.after == next_one.before
    for batch in batches:
        assert all(batch.before <= record.offset < batch.after for record in batch.records)
        assert len(batch.records) <= max_records
        assert len(batch.records) <= 1 or sum(map(weight, batch.records)) <= max_bytes
        assert (batch.topic, batch.partition, batch.epoch) == ("t", 3, 7)
        assert batch.offset == batch.after - 1  # what Faust takes for the message's offset
        assert batch.value is batch


@given(fetches())
def test_batches_are_not_cut_without_need(fetch):
    before, after, records = fetch
    assert len(split("t", 0, records, before, after, 0, 1000, 1 << 20)) == 1


def test_a_fetch_that_brought_only_a_marker_is_one_empty_batch():
    (batch,) = split("t", 0, [], 5, 7, 0, 10, 10)
    assert (list(batch.records), batch.before, batch.after, batch.timestamp) == ([], 5, 7, 0)


def test_a_record_above_the_byte_limit_travels_alone():
    records = [Rec(0, b"a"), Rec(1, bytes(100)), Rec(2, b"b")]
    batches = split("t", 0, records, 0, 3, 0, 10, 10)
    assert [[record.offset for record in batch.records] for batch in batches] == [[0], [1], [2]]
