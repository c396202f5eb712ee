"""Gap rows: what is written is what is read and served, and other formats are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.core.errors import UnknownRowFormat
from replayer.core.gaps import MOST, PREFIX, Gap, described
from tests.drawn import MemoryRows

OFFSETS = st.integers(0, 2**63 - 1)


@given(st.text(max_size=30), OFFSETS, OFFSETS, OFFSETS)
def test_a_gap_is_read_as_written(topic: str, start: int, end: int, found: int) -> None:
    gap = Gap(topic, start, end, found)
    assert Gap.from_row(*gap.row()) == gap
    assert gap.row()[0].startswith(PREFIX)


def test_a_row_of_another_format_is_refused_with_advice() -> None:
    key, value = Gap("t", 1, 2, 3).row()
    with pytest.raises(UnknownRowFormat, match=r"gap row has format 9.*REPLAYER_APP_ID"):
        Gap.from_row(key, b"\x09" + value[1:])


def test_each_gap_is_served_by_topic_and_offset_and_not_without_bound() -> None:
    rows = MemoryRows()
    rows.write([Gap("b", 300, 301, 1_700_000_000_001).row(), Gap("a", 7, 9, 0).row(), Gap("b", 5, 6, 0).row()])
    assert described(rows, 3) == [
        {"topic": "a", "partition": 3, "start": 7, "end": 9, "found_at": "1970-01-01T00:00:00.000000Z"},
        {"topic": "b", "partition": 3, "start": 5, "end": 6, "found_at": "1970-01-01T00:00:00.000000Z"},
        {"topic": "b", "partition": 3, "start": 300, "end": 301, "found_at": "2023-11-14T22:13:20.001000Z"},
    ]
    rows.write([Gap("c", n, n + 1, 0).row() for n in range(2 * MOST)])
    assert len(described(rows, 3)) == MOST
