"""The native fold of the index is Python's: everything that holds of the one is asked of both, side by side."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.workload import workload
from replayer.core.errors import RowUnreadable
from replayer.core.index import IndexFold
from replayer.core.indexing import indexed
from replayer.core.outcome import Folded, Folding, Record, Rows, whole
from replayer.core.shelf_rows import ORDER
from replayer.core.sizes import topic
from replayer.core.timeline import TimelineFold
from replayer.native import index as native_index
from replayer.native.index import NativeIndexFold
from replayer.native.library import NotDone
from tests.core import shelves
from tests.core.test_index import *  # noqa: F403 - every promise, asked of both
from tests.core.test_lookup import *  # noqa: F403 - as above
from tests.core.test_usage import *  # noqa: F403 - as above
from tests.drawn import Log, MemoryRows
from tests.native.agreement import LIMIT, library
from topics.usage import Standing, Touch, Usage, Use


class Spied(IndexFold):
    """Python's fold, which notes what was left to it."""

    left = 0

    def folding(self, rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folding:
        self.left += len(records)
        return super().folding(rows, records, partition, now_ms)


class Both:
    """Both folds over the same rows: Python's answer; fails where the native fold's is another."""

    def __init__(self, **how: Any) -> None:
        how = {"partition_of": lambda _: 0, "max_record_bytes": LIMIT} | how
        self._python, self.spy = IndexFold(**how), Spied(**how)
        self._native = NativeIndexFold(library=library(), **how)
        self._native._python = self.spy

    def fold(self, rows: MemoryRows, records: Sequence[Log], partition: int, now_ms: int) -> Folded:
        kept = dict(rows)
        expected = self._python.fold(rows, records, partition, now_ms)
        found = self._native.fold(rows, records, partition, now_ms)
        assert rows == kept
        assert dict(found.rows) == dict(expected.rows)
        assert len(found.rows) == len(expected.rows)
        kinds = [key[:1] for key, _ in found.rows]
        assert kinds == sorted(kinds, key=ORDER.index)
        assert (found.sends, found.implied, found.counts) == (expected.sends, expected.implied, expected.counts)
        return found  # rows of a kind in its own order: a torn step has them so


@pytest.fixture(autouse=True)
def _both(monkeypatch: pytest.MonkeyPatch) -> Iterator[Both]:
    both = Both()
    monkeypatch.setattr(shelves, "index", both)
    monkeypatch.setattr(native_index, "_AT_A_TIME", 3)
    return both


@pytest.mark.parametrize("size", ["1KB", "200B"])
def test_the_ordinary_workload_is_indexed_by_native_code(size: Any) -> None:
    timelines, both = TimelineFold(partition_of=lambda _: 0, max_record_bytes=LIMIT), Both()
    records = [Log(topic(size), n, value, key=key) for n, (key, value) in enumerate(workload(size, 3000, active=100))]
    rows, index, usage = MemoryRows(), MemoryRows(), 0
    for start in range(0, len(records), 500):
        folded = whole(indexed(timelines.folding(rows, records[start : start + 500], 0, 0)))
        rows.write(folded.stored)
        told = [Log("template-usage", usage + n, send.value, key=send.key) for n, send in enumerate(folded.sends)]
        usage += len(told)
        index.write(both.fold(index, told, 0, 0).stored)
    assert usage > 0
    assert both.spy.left == 0


_SHELVES = [b"tt\x001\x000", b"tt\x00\x001", b"mp/m\x00\x000", b"pp\x001\x000", b"dd\x00\x00f"]
_names = st.sampled_from(["", "a", "é", "b" * 40])
_whos = st.tuples(st.sampled_from(["t1", "t2"]), st.sampled_from(["w", "v"]), st.sampled_from(["", "d1", "d2"]))
_us = st.integers(-5, 5) | st.integers(-(2**62), 2**62)
_templates = st.tuples(
    st.sampled_from([f"m{n:03}" for n in range(80)]), st.none() | st.integers(0, 2**40),
    st.none() | st.sampled_from(["fast", "normal", "slow", "timeout", "odd"]), st.booleans(),
)  # fmt: skip
_verdicts = st.tuples(
    st.sampled_from(["allow", "deny"]), st.none() | st.sampled_from([f"r{n:03}" for n in range(80)]),
    st.none() | _names, st.none() | _names,
)  # fmt: skip


@st.composite
def _usages(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A shelf and anything that a release could say of it: more, and other, than steps of timelines do."""
    shelf = draw(st.sampled_from(_SHELVES))
    details = _verdicts if shelf[:1] == b"p" else _templates
    uses = draw(st.lists(st.builds(
        lambda who, us, name, variant, at, detail: Use(*who, us, name, variant, "t", *at, detail),
        _whos, _us, _names, st.sampled_from([b"1" * 8, b"2" * 8]), st.tuples(*[st.integers(0, 9)] * 3), details,
    ), max_size=6))  # fmt: skip
    touches = draw(st.lists(st.builds(lambda who, us, more: Touch(*who, us, us + more), _whos, _us, st.integers(0, 9)),
                            max_size=3))  # fmt: skip
    standings = draw(st.lists(st.builds(
        lambda who, version, status, overridden, outcomes, feedbacks, score, label: Standing(
            *who, version, status, overridden, tuple(sorted(outcomes)), feedbacks, score, label
        ),
        _whos, st.integers(1, 4), st.sampled_from(["open", "failed"]), st.booleans(),
        st.sets(st.sampled_from(["allow", "deny", "redact"])), st.integers(0, 2),
        st.none() | st.floats(-2, 2) | st.sampled_from([0.0000005, 0.0000015, 1e9]), st.none() | _names,
    ), max_size=4))  # fmt: skip
    return shelf, b"\x01" + msgspec.msgpack.encode(Usage(uses, touches, standings))


@given(st.lists(_usages(), max_size=12), shelves.splits, st.data())
@settings(max_examples=250)
def test_whatever_is_said_is_shelved_alike(
    told: list[tuple[bytes, bytes]], batches: list[int], data: st.DataObject
) -> None:
    both, rows, done, turn = Both(), MemoryRows(), 0, 0
    records = shelves.in_log(told)
    while done < len(records):
        size = batches[turn % len(batches)]
        written = both.fold(rows, records[done : done + size], 0, 0).rows
        if data.draw(st.integers(0, 3)) == 0:  # torn, and folded again
            rows.write(written[: data.draw(st.integers(0, len(written)))])
            written = both.fold(rows, records[done : done + size], 0, 0).rows
        rows.write(written)
        done, turn = done + size, turn + 1


def test_more_rules_models_and_tenants_than_a_head_keeps() -> None:
    def uses(kind: str, count: int) -> list[Use]:
        return [
            Use(f"t{n * 7919 % 997:03}", "w", "d", n, f"e{n}", b"12345678", "t", 0, n, 0,
                ("deny", f"r{n * 7919 % 997:03}", None, None) if kind == "p" else (f"m{n % 100}", n * n, None, False))
            for n in range(count)
        ]  # fmt: skip

    both, rows = Both(), MemoryRows()
    for shelf in (b"pp\x001\x000", b"tt\x001\x000"):
        value = b"\x01" + msgspec.msgpack.encode(Usage(uses(chr(shelf[0]), 200), [], []))
        rows.write(both.fold(rows, [Log("template-usage", 0, value, key=shelf)], 0, 0).rows)
        rows.write(both.fold(rows, [Log("template-usage", 1, value, key=shelf)], 0, 0).rows)
    assert both.spy.left == 0


@given(st.lists(_usages(), min_size=1, max_size=4), st.data())
def test_nothing_is_written_over_a_row_that_is_not_ours(told: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    records, both = shelves.in_log(told), Both()
    rows = MemoryRows()
    rows.write(both.fold(MemoryRows(), records, 0, 0).stored)
    key = data.draw(st.sampled_from(sorted(rows)))
    value = rows[key]
    rows[key] = data.draw(st.sampled_from([b"", b"\x63" + value[1:], value[:-1], value + b"\0"]))
    again = shelves.in_log([*told, *told])[len(told) :]
    try:
        expected = IndexFold(partition_of=lambda _: 0, max_record_bytes=LIMIT).fold(rows, again, 0, 0)
    except RowUnreadable as refused:  # by both, unless the native one has no need to read it
        with contextlib.suppress(type(refused)):
            assert key not in dict(both._native.fold(rows, again, 0, 0).rows)
    else:
        assert dict(both._native.fold(rows, again, 0, 0).rows) == dict(expected.rows)


def test_what_the_library_is_handed_is_checked() -> None:
    shelf = b"tt\x001\x000"
    records = native_index.unread(
        library(), [Log("template-usage", 0, b"\x01" + msgspec.msgpack.encode(Usage([], [], [])), key=shelf)]
    )
    for values in (b"", b"\xc0", b"\x92\xc0\xc0", b"\x91\x01"):
        with library().shelving() as step:
            assert step.load(records) == [shelf]
            assert step.parse(9) == ([b"h" + shelf], 1)
            for again in (values, b"\x91\xc0"):
                with pytest.raises(NotDone):
                    step.fold(again)
