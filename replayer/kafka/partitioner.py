"""Where a key lives: the Java producer's murmur2, which every producer and reader here must agree on."""

from __future__ import annotations

from aiokafka.partitioner import murmur2


def partition_of(key: bytes, n: int) -> int:
    """Partition of `key` in a topic of `n` partitions, as Kafka's Java client chooses it."""
    hashed: int = murmur2(key)
    return (hashed & 0x7FFFFFFF) % n  # toPositive() in Java, not abs()
