"""The bounds hold for any JSON, strings that look like JSON included."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics.bounds import Limits, long_number, may_break_bounds, skeleton, too_deep

tricky = st.text(st.sampled_from('[]{}"\\ 0123456789é'), max_size=30)
documents = st.recursive(
    st.none() | st.integers(-(10**30), 10**30) | tricky,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(tricky, inner, max_size=4),
    max_leaves=20,
)


def depth(value: Any) -> int:
    match value:
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
        case list():
            return 1 + max(map(depth, value), default=0)
    return 0


def digits(value: Any) -> int:
    match value:
        case dict():
            return max(map(digits, value.values()), default=0)
        case list():
            return max(map(digits, value), default=0)
        case int():
            return len(str(abs(value)))
    return 0


@given(documents, st.integers(1, 6), st.integers(1, 25))
def test_depth_and_digits_are_judged_as_a_parser_would(document: Any, levels: int, length: int) -> None:
    raw = json.dumps(document, ensure_ascii=False).encode()
    deep, long = depth(document) > levels, digits(document) > length
    bones = skeleton(raw)
    assert too_deep(bones, levels) == deep
    assert long_number(bones, length) == long
    if deep or long:  # the cheap look may be wrong in one direction only
        assert may_break_bounds(raw, Limits(max_depth=levels, max_integer_digits=length))


@given(st.binary(max_size=200))
def test_any_bytes_can_be_judged(raw: bytes) -> None:
    bones = skeleton(raw)
    too_deep(bones, 3)
    long_number(bones, 3)


def test_fractions_are_not_counted_and_exponents_are() -> None:
    assert not long_number(b"0.123456789", 3)
    assert not long_number(b"-12.5e10", 3)
    assert long_number(b"1e0001", 3)


@pytest.mark.parametrize("bad", [{"max_depth": 0}, {"max_depth": 1000}, {"max_integer_digits": 5000}])
def test_bounds_that_could_not_be_kept_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="limits"):
        Limits(**bad)
