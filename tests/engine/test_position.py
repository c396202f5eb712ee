"""Position rows: what is written is what is read, and other formats are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.core.errors import UnknownRowFormat
from replayer.engine.position import Position, fingerprint, position_key
from tests.engine.records import Rec

OFFSETS = st.integers(0, 2**63 - 1)


@given(OFFSETS, OFFSETS, st.binary(min_size=16, max_size=16))
def test_a_position_is_read_as_written(after, last, digest):
    position = Position(after, last, digest)
    assert Position.decode(position.encode()) == position


def test_rows_of_another_format_are_refused_with_advice():
    with pytest.raises(UnknownRowFormat, match="REPLAYER_APP_ID"):
        Position.decode(b"\x02" + Position(1, 0, bytes(16)).encode()[1:])


def test_behind_a_gap_there_is_nothing_to_verify():
    assert not Position.behind_gap(7).verifiable
    assert Position(7, 6, fingerprint(Rec(6))).verifiable


@given(
    st.tuples(st.none() | st.binary(max_size=3), st.none() | st.binary(max_size=3), OFFSETS, st.integers(0, 9)),
    st.tuples(st.none() | st.binary(max_size=3), st.none() | st.binary(max_size=3), OFFSETS, st.integers(0, 9)),
)
def test_fingerprints_tell_records_apart(one, other):
    def made(parts):
        key, value, offset, timestamp = parts
        return fingerprint(Rec(offset, value, key, timestamp=timestamp))

    assert (made(one) == made(other)) == (one == other)


def test_rows_of_a_topic_do_not_mix_with_those_of_another():
    assert position_key("a") != position_key("ab")
