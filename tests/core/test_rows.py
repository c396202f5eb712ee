"""Keys are bounded and in order; values say their format, and what cannot be read says so."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.core.capped import MAX_SUM, MAX_VALUES, plus, put
from replayer.core.decisions import decode_decision
from replayer.core.errors import DamagedRow, RowUnreadable, UnknownRowFormat
from replayer.core.head import Head, decode_head
from replayer.core.rows import (
    EVENT,
    EVENT_FORMATS,
    FORMAT,
    MAX_KEY_BYTES,
    decode_event,
    decode_sightings,
    encode_event,
    event_key,
    event_start,
    workflow_prefix,
)
from tests.core.timelines import arrived, document, fold
from tests.drawn import MemoryRows

ids = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=6)
instants = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
variants = st.binary(min_size=8, max_size=8)


@given(st.tuples(instants, ids, variants), st.tuples(instants, ids, variants))
def test_keys_order_events_as_the_timeline_does(one: tuple[int, str, bytes], other: tuple[int, str, bytes]) -> None:
    prefix = workflow_prefix("acme", "w")
    assert (event_key(prefix, *one) < event_key(prefix, *other)) == (one < other)
    assert event_start(prefix, one[0]) <= event_key(prefix, *one)


@given(ids, ids, ids, ids)
def test_no_workflow_lies_within_anothers_prefix(a: str, b: str, c: str, d: str) -> None:
    if (a, b) != (c, d):
        assert not workflow_prefix(a, b).startswith(workflow_prefix(c, d))


@given(instants, ids, variants, st.integers(0, 3), st.integers(0, 2**62), st.integers(0, 2**62), st.binary())
def test_an_event_row_comes_back(
    occurred_us: int, event_id: str, variant: bytes, marks: int, commit_us: int, offset: int, projection: bytes
) -> None:
    prefix = workflow_prefix("acme", "w\xe9")
    key = event_key(prefix, occurred_us, event_id, variant)
    row = decode_event(prefix, key, encode_event(marks, commit_us, b"topic", 7, offset, 2, projection))
    assert (row.occurred_us, row.event_id, row.variant) == (occurred_us, event_id, variant)
    assert (row.marks, row.commit_us, row.topic, row.partition) == (marks, commit_us, "topic", 7)
    assert (row.offset, row.index, row.projection) == (offset, 2, projection)


def test_no_key_is_longer_than_stated() -> None:
    widest = "\U0001f600"
    event = document(
        "policy.evaluated", tenant_id=widest * 128, workflow_id=widest * 256, event_id=widest * 128,
        decision_id=widest * 128,
    )  # fmt: skip
    rows = fold(MemoryRows(), arrived([("tool-events", json.dumps(event).encode())])).stored
    assert len(rows) == 4
    assert max(len(key) for key, _ in rows) == MAX_KEY_BYTES


def test_every_value_says_its_format_and_another_one_is_a_clear_error() -> None:
    event = json.dumps(document("policy.evaluated")).encode()
    rows = fold(MemoryRows(), arrived([("tool-events", event)])).stored
    prefix = workflow_prefix("acme", "w")
    for key, value in rows:
        assert value is not None
        known = EVENT_FORMATS if key[:1] == EVENT else (FORMAT,)
        assert value[0] == known[-1]

        def read(value: bytes, key: bytes = key) -> object:
            if key[:1] == EVENT:
                return decode_event(prefix, key, value)
            return {b"h": decode_head, b"i": decode_sightings, b"d": decode_decision}[key[:1]](value)

        read(value)
        readable = ", ".join(map(str, known))
        with pytest.raises(UnknownRowFormat, match=rf"format 3; this version of replayer reads {readable}"):
            read(b"\x03" + value[1:])
        for damaged in (b"", value[:1], value[:7]):
            with pytest.raises(DamagedRow, match="data directory"):
                read(damaged)
    assert issubclass(DamagedRow, RowUnreadable)


def test_a_row_whose_text_is_no_utf8_is_damaged() -> None:
    """msgspec raises no error of its own then: the records that met the row were buried for it."""
    rows = MemoryRows()
    rows.write(fold(rows, arrived([("tool-events", json.dumps(document("policy.evaluated")).encode())])).stored)
    for kind, decode in ((b"h", decode_head), (b"i", decode_sightings), (b"d", decode_decision)):
        (value,) = [value for key, value in rows.items() if key[:1] == kind]
        at = value.index(b"tool-events")
        with pytest.raises(DamagedRow):
            decode(value[: at + 4] + b"\xe6" + value[at + 5 :])
    assert issubclass(UnknownRowFormat, RowUnreadable)


def test_a_row_with_fields_of_a_later_release_can_be_read() -> None:
    """Fields are only ever appended: the rows of the next minor release are arrays with more at their end."""
    event = json.dumps(document("policy.evaluated")).encode()
    for key, value in fold(MemoryRows(), arrived([("tool-events", event)])).rows:
        if key[:1] == b"h" and value is not None:
            assert value[1] == 0xDC, "an array of 16 bits' length"
            longer = value[:2] + (int.from_bytes(value[2:4], "big") + 1).to_bytes(2, "big") + value[4:] + b"\x01"
            assert decode_head(longer) == decode_head(value)


@given(st.lists(st.integers(0, MAX_VALUES + 20).map(lambda n: f"v{n:03}"), max_size=150))
def test_a_capped_set_is_the_smallest_values(values: list[str]) -> None:
    head = Head("acme", "w")
    for value in values:
        if value not in head.agents:
            put(head, "agents", value)
    assert head.agents == tuple(sorted(set(values))[:MAX_VALUES])
    assert head.overflow == (("agents",) if len(set(values)) > MAX_VALUES else ())


@given(st.lists(st.integers(0, MAX_SUM), max_size=6))
def test_a_capped_sum_is_free_of_order(amounts: list[int]) -> None:
    def total(parts: list[int]) -> int:
        result = 0
        for part in parts:
            result = plus(result, part)
        return result

    assert total(amounts) == total(amounts[::-1]) == min(sum(amounts), MAX_SUM)
