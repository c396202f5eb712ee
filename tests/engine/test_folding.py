"""A fold that raises costs the record it raises on, and nothing else."""

from __future__ import annotations

import pytest

from replayer.core.errors import DamagedRow, UnknownRowFormat
from replayer.core.outcome import Folded, Send, whole
from replayer.engine.config import TableSpec
from replayer.engine.folding import fold
from replayer.engine.rows import StateClosed, StateUnreadable
from tests.engine.records import Rec


class NoRows:
    def get(self, key):
        return None

    def get_many(self, keys):
        return [None] * len(keys)

    def scan(self, prefix, start=None):
        return iter(())


def counting(rows, records, partition, now_ms):
    """One row per key: how many records; raises on `bad`, makes a huge row of `big`."""
    folded, counts = Folded(counts={"folded": len(records)}), {}
    for record in records:
        if record.value == b"bad":
            raise KeyError("bad")
        counts[record.key] = counts.get(record.key, int(rows.get(record.key) or 0)) + 1
        if record.value == b"big":
            folded.rows.append((b"big", bytes(1000)))
        folded.sends.append(Send("copies", record.key, record.value))
        yield
    folded.rows.extend((key, b"%d" % count) for key, count in counts.items())
    return folded


def poison(record, exc, now_ms):
    return Send("dead", record.key, record.value, (("error", type(exc).__name__.encode()),))


def folded(values, fold_with=counting):
    spec = TableSpec("t", ("s",), 1, fold_with, poison)
    return whole(fold(spec, NoRows(), [Rec(i, value) for i, value in enumerate(values)], 0, 5, row_limit=100))


def test_it_pauses_where_its_fold_does_and_between_records_folded_one_by_one():
    spec = TableSpec("t", ("s",), 1, counting, poison)
    records = [Rec(0, b"a"), Rec(1, b"b"), Rec(2, b"bad")]
    assert len(list(fold(spec, NoRows(), records[:2], 0, 5, row_limit=100))) == 2
    assert len(list(fold(spec, NoRows(), records, 0, 5, row_limit=100))) == 2 + 3


def test_without_failure_it_is_one_call():
    calls = []

    def watched(rows, records, partition, now_ms):
        calls.append(len(records))
        return (yield from counting(rows, records, partition, now_ms))

    assert dict(folded([b"a", b"b"], watched).rows) == {b"k": b"2"}
    assert calls == [2]


def test_each_record_sees_what_those_before_it_wrote():
    result = folded([b"a", b"bad", b"b", b"bad", b"c"])
    assert dict(result.rows) == {b"k": b"3"}
    assert [(send.topic, send.value) for send in result.sends] == [
        ("copies", b"a"), ("dead", b"bad"), ("copies", b"b"), ("dead", b"bad"), ("copies", b"c"),
    ]  # fmt: skip
    assert result.counts == {"folded": 3, "dead_letter": 2}


def test_a_row_the_changelog_would_refuse_is_a_dead_letter_too():
    result = folded([b"a", b"big", b"b"])
    assert dict(result.rows) == {b"k": b"2"}
    dead = [send for send in result.sends if send.topic == "dead"]
    assert [(send.value, send.headers) for send in dead] == [(b"big", (("error", b"RowTooLarge"),))]


@pytest.mark.parametrize("fails_at", [0, 1])
def test_rows_that_cannot_be_read_are_no_fault_of_the_records(fails_at):
    calls = []

    def broken(rows, records, partition, now_ms):
        calls.append(records)
        yield
        if len(calls) > fails_at:
            raise StateUnreadable("Corruption: block checksum mismatch")
        raise KeyError("bad")

    with pytest.raises(StateUnreadable) as caught:
        folded([b"a"], broken)
    assert caught.value.damaged


@pytest.mark.parametrize("fault", [UnknownRowFormat("head", 9, (1,)), DamagedRow("head"), StateClosed("closed")])
def test_a_row_that_cannot_be_read_buries_nothing(fault):
    def unreadable(rows, records, partition, now_ms):
        yield
        raise fault

    with pytest.raises(type(fault)):
        folded([b"a", b"b"], unreadable)
