"""murmur2 as Java has it: the vectors of Kafka's own UtilsTest, and what the broker's clients do with them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.kafka.partitioner import partition_of

# org.apache.kafka.common.utils.UtilsTest.testMurmur2
JAVA = [
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
]


@pytest.mark.parametrize(("key", "hashed"), JAVA)
@pytest.mark.parametrize("n", [1, 2, 4, 7, 50])
def test_partitions_are_javas(key, hashed, n):
    assert partition_of(key, n) == (hashed & 0x7FFFFFFF) % n


@given(st.binary(max_size=64), st.integers(1, 1000))
def test_every_key_has_one_partition_within_range(key, n):
    assert 0 <= partition_of(key, n) < n
    assert partition_of(key, n) == partition_of(bytes(key), n)
