"""What a report of skew counts adds up."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.core.skew import Skew, factor
from tests.drawn import Log

RECORDS = st.lists(
    st.builds(
        Log,
        st.sampled_from(["a", "b"]),
        st.just(0),
        st.none() | st.binary(max_size=3),
        st.integers(0, 2),
        key=st.none() | st.sampled_from([b"", b"k", b"l"]),
    ),
    max_size=30,
)


@given(RECORDS, st.integers(1, 5))
def test_every_record_counts_once_and_the_hottest_come_first(records, most):
    skew = Skew()
    skew.see(records[:7])
    skew.see(records[7:])
    assert skew.records == len(records) == skew.records_of("a") + skew.records_of("b")
    assert {place: load.records for place, load in skew.partitions.items()} == Counter(
        (record.topic, record.partition) for record in records
    )
    assert sum(load.bytes for load in skew.keys.values()) == sum(
        len(record.key or b"") + len(record.value or b"") for record in records
    )
    expected = Counter((record.topic, record.partition, record.key) for record in records)
    hottest = skew.hottest(most)
    assert len(hottest) == min(most, len(expected))
    assert [load.records for _, load in hottest] == sorted(expected.values(), reverse=True)[:most]
    assert all(expected[key] == load.records for key, load in hottest)


@pytest.mark.parametrize(
    ("loads", "found"), [([], 1.0), ([0, 0], 1.0), ([3, 3, 3], 1.0), ([9, 0, 0], 3.0), ([4, 2], 4 / 3)]
)
def test_the_factor_is_the_fullest_over_the_average(loads, found):
    assert factor(loads) == pytest.approx(found)
