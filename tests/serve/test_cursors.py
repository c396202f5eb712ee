"""Cursors: what went in comes out, and nothing else is taken for one."""

from __future__ import annotations

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.serve import cursors
from replayer.serve.problems import Problem

POSITIONS = st.lists(st.one_of(st.text(), st.binary(), st.integers(-(2**63), 2**64 - 1)), max_size=5).map(tuple)
ASKED = cursors.question("timeline", {"tenant": "acme", "order": "commit"})


@given(POSITIONS)
def test_what_went_in_comes_out(position: cursors.Position) -> None:
    cursor = cursors.encode(position, ASKED)
    assert cursors.decode(cursor, ASKED) == position
    assert set(cursor) <= set(string.ascii_letters + string.digits + "-_")


@given(st.text(max_size=200))
def test_no_text_is_taken_for_a_cursor(text: str) -> None:
    refused(text)


@given(st.binary(max_size=100))
def test_no_bytes_in_a_cursors_clothes_either(raw: bytes) -> None:
    refused(base64.urlsafe_b64encode(bytes([cursors.VERSION]) + raw).rstrip(b"=").decode())


@given(POSITIONS, st.data())
def test_one_changed_character_is_seen(position: cursors.Position, data: st.DataObject) -> None:
    cursor = cursors.encode(position, ASKED)
    at = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(
        st.sampled_from(string.ascii_letters + string.digits + "-_=+/ ").filter(lambda c: c != cursor[at])
    )
    refused(cursor[:at] + other + cursor[at + 1 :])


@given(POSITIONS, st.integers(0, 20))
def test_a_cut_or_padded_one_too(position: cursors.Position, cut: int) -> None:
    cursor = cursors.encode(position, ASKED)
    refused(cursor[: -1 - cut])
    refused(cursor + "=")
    refused(cursor + "A")


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("decisions", {"tenant": "acme", "order": "commit"}),
        ("timeline", {"tenant": "acme", "order": "occurred"}),
        ("timeline", {"tenant": "acme"}),
        ("timeline", {"tenant": "acme", "order": "commit", "family": "tool-events"}),
    ],
)
def test_a_cursor_of_another_question(operation: str, parameters: dict[str, object]) -> None:
    cursor = cursors.encode(("acme", 3), ASKED)
    with pytest.raises(Problem) as refusal:
        cursors.decode(cursor, cursors.question(operation, parameters))
    assert (refusal.value.status, refusal.value.field) == (400, "cursor")


def test_the_next_page_may_have_another_size() -> None:
    cursor = cursors.encode(("acme", 3), ASKED)
    again = cursors.question(
        "timeline", {"order": "commit", "tenant": "acme", "limit": 5, "cursor": cursor, "to": None}
    )
    assert cursors.decode(cursor, again) == ("acme", 3)


def test_an_endless_one_is_not_even_looked_at() -> None:
    refused(cursors.encode(("x" * cursors.MAX_CHARS,), ASKED))


def refused(cursor: str) -> None:
    with pytest.raises(Problem) as refusal:
        cursors.decode(cursor, ASKED)
    assert (refusal.value.status, refusal.value.field) == (400, "cursor")
