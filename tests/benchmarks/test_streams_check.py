"""The comparison of the Kafka Streams peer with the product's fold. The peer itself runs before it is measured."""

from __future__ import annotations

from dataclasses import asdict
from typing import get_args

import pytest

from benchmarks.contenders.reducers import Kept
from benchmarks.contenders.streams_check import Made, broken, differences, lines, ours
from topics.codec import Undecodable, decode


def test_every_event_that_breaks_a_rule_is_refused_here_and_the_others_are_not() -> None:
    told = lines()
    refused = {number for number, value in enumerate(told) if isinstance(decode(value), Undecodable)}
    assert refused == set(range(len(told) - len(broken(told[0], told[300])), len(told)))
    assert len(refused) >= 30
    assert not [value for value in told if b"\n" in value], "one event a line"


def test_the_comparison_sees_duplicates_conflicts_and_late_events() -> None:
    made = ours(lines(), "all")
    _, duplicates, conflicts, late = (sum(head[n] for head in made.heads.values()) for n in range(4))
    assert duplicates == 53  # 50 again, and three of the conflicting ones
    assert conflicts > 7
    assert late > 2
    assert made.rows["events"] == sum(head[0] for head in made.heads.values())
    assert made.rows["identities"] < made.rows["events"], "variants share an identity row"
    assert made.rows["decisions"] > made.rows["heads"]


@pytest.mark.parametrize("kept", get_args(Kept))
def test_a_peer_that_does_the_same_differs_in_nothing_and_any_other_does(kept: Kept) -> None:
    made = Made([7], {"heads": 1, "events": 3}, {"t1/w1": [3, 1, 0, 0, "ab"]})
    same = asdict(made)
    assert differences(made, same, kept) == []
    for spoilt in (
        {"refused": []},
        {"rows": {"heads": 1, "events": 2}},
        {"heads": {}},
        {"heads": {"t1/w1": [2, 1, 0, 0, "ab"]}},
        {"heads": {"t1/w1": [3, 1, 0, 0, "ac"]}},
        {"heads": {**same["heads"], "t1/w2": [1, 0, 0, 0, "00"]}},
    ):
        assert len(differences(made, {**same, **spoilt}, kept)) == 1, spoilt
    miscounted = {**same, "heads": {"t1/w1": [3, 0, 0, 0, "ab"]}}
    assert bool(differences(made, miscounted, kept)) == (kept == "all")
