"""Each kind of bad record is buried for the reason it was made for, by the oracle, too."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aiokafka import TopicPartition

from tests.chaos import oracle
from tests.chaos.brokerside import PARTITIONS
from tests.chaos.mutants import raising
from tests.chaos.recipes.records import KINDS
from tests.chaos.trial import by_key
from tests.chaos.workload import Workload
from tests.drawn import Log


@pytest.mark.parametrize(("make", "reason"), KINDS)
def test_it_is_buried_for_its_reason(make: Callable[[bytes], bytes | None], reason: str | None) -> None:
    emission = next(Workload(1).emissions())
    assert emission.value is not None
    value = make(emission.value)
    assert value != emission.value
    tp = TopicPartition(emission.topic, by_key(emission))
    record = Log(emission.topic, 7, value, partition=tp.partition, key=emission.key)

    expected = oracle.expected({tp: [record]}, PARTITIONS, raising.raises)

    assert expected.letters == ({} if reason is None else {(*tp, 7): reason})
    assert bool(expected.timelines) is (reason is None)
