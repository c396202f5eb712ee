"""What the checker looks for is found where it is, and nothing where all is well. What it reads is made: no broker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import TopicPartition

from replayer.core.faults import Emission
from replayer.core.gaps import Gap
from tests.chaos.checker import _everything_once, _in_two_partitions, _untold, differences, outside
from tests.chaos.commits import steps_back
from tests.chaos.feed import Fate, Sent
from tests.chaos.oracle import Expected
from tests.chaos.seen import At, Name, Seen

NAME: Name = ("acme", "w")
GOOD: At = ("workflow-events", 0, 0)
BAD: At = ("workflow-events", 0, 1)
Story = dict[str, Any]


def emission(event_id: str | None, kind: str = "event") -> Emission:
    known = (event_id, "policy.evaluated", "w", "acme") if event_id else (None, None, None, None)
    return Emission("workflow-events", b"w", b"{}", kind, *known)


def story() -> Story:
    """A sound event in its timeline, a bad record in dead letters."""
    return {
        "sent": [Sent(emission("e1"), 0, Fate.ACKED, 0), Sent(emission(None, "poison"), 0, Fate.ACKED, 1)],
        "found": {NAME: Seen({"events": 1}, (("e1", "aa", GOOD),))},
        "letters": [(BAD, "invalid")],
        "expected": Expected({}, {BAD: "invalid"}, frozenset({GOOD, BAD})),
    }


def findings(told: Story, *, repeats: bool = False) -> list[str]:
    found = _everything_once(**told, buries=lambda one: one.kind == "poison", repeats=repeats)
    return [finding.split(":")[0] for finding in found]


def without_the_event(told: Story) -> None:
    told["found"] = {}


def without_its_letter(told: Story) -> None:
    told["letters"] = []


def with_a_letter_for_the_event(told: Story) -> None:
    told["letters"] = [*told["letters"], (GOOD, "invalid")]


def with_two_letters(told: Story) -> None:
    told["letters"] = told["letters"] * 2


def for_another_reason(told: Story) -> None:
    told["letters"] = [(BAD, "undecodable")]


def with_an_event_nobody_sent(told: Story) -> None:
    at = ("workflow-events", 0, 2)
    told["found"] = {NAME: Seen({}, (*told["found"][NAME].events, ("e2", "bb", at)))}
    told["expected"] = replace(told["expected"], held=told["expected"].held | {at})


def with_an_event_from_nowhere(told: Story) -> None:
    told["found"] = {NAME: Seen({}, (("e1", "aa", ("workflow-events", 0, 9)),))}


def with_a_letter_nobody_expected(told: Story) -> None:
    told["letters"] = [*told["letters"], (("workflow-events", 0, 7), "invalid")]


def with_a_refused_event_that_is_there(told: Story) -> None:
    told["sent"][0].fate = Fate.FAILED


@pytest.mark.parametrize(
    ("spoil", "wanted"),
    [
        (without_the_event, {"acked, and neither in a timeline nor in dead letters", "sound, and in no timeline"}),
        (
            without_its_letter,
            {
                "acked, and neither in a timeline nor in dead letters",
                "no event, and not in dead letters",
                "not in dead letters",
            },
        ),
        (
            with_a_letter_for_the_event,
            {"sound, and in dead letters", "dead letters that should not be", "in a timeline and in dead letters"},
        ),
        (with_two_letters, {"twice in dead letters"}),
        (for_another_reason, {"in dead letters for another reason"}),
        (with_an_event_nobody_sent, {"in a timeline, and never sent"}),
        (with_an_event_from_nowhere, {"in a timeline, and in no log"}),
        (with_a_letter_nobody_expected, {"dead letters that should not be"}),
        (with_a_refused_event_that_is_there, {"in a timeline, and never sent"}),
    ],
)
def test_everything_once(spoil: Callable[[Story], None], wanted: set[str]) -> None:
    assert findings(story()) == []
    told = story()
    spoil(told)
    assert set(findings(told)) == wanted


def test_a_dead_letter_that_may_be_repeated_is_let_pass_and_nothing_else() -> None:
    told = story()
    with_two_letters(told)
    assert findings(told, repeats=True) == []
    for spoil in (without_the_event, without_its_letter, with_a_letter_for_the_event, for_another_reason):
        told = story()
        spoil(told)
        assert findings(told, repeats=True) != [], spoil


FIRST, SECOND = ("e1", "aa", GOOD), ("e2", "bb", BAD)
HEAD = {"events": 2, "digest": "d"}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, "is missing"),
        ({NAME: Seen(HEAD, (FIRST, SECOND)), ("acme", "v"): Seen({}, ())}, "should not be"),
        ({NAME: Seen(HEAD, (SECOND, FIRST))}, "2 events, not the 2 expected in their order"),
        ({NAME: Seen(HEAD, (FIRST,))}, "1 events, not the 2 expected in their order"),
        ({NAME: Seen(HEAD, (FIRST, ("e2", "cc", BAD)))}, "2 events, not the 2 expected in their order"),
        ({NAME: Seen(HEAD | {"digest": "x"}, (FIRST, SECOND))}, "its head differs in digest"),
    ],
)
def test_timelines_that_are_not_what_they_should_be(found: dict[Name, Seen], said: str) -> None:
    expected = {NAME: Seen(HEAD, (FIRST, SECOND))}
    assert differences(expected, expected, only_events=False) == []
    (finding,) = differences(expected, found, only_events=False)
    assert said in finding
    assert bool(differences(expected, found, only_events=True)) == ("head" not in said)


def test_gaps_are_told_offset_for_offset() -> None:
    table = {0: dict([Gap("t", 3, 5, 0).row()])}
    expired = {("t", 0, 3), ("t", 0, 4)}
    assert _untold(table, expired) == []
    assert _untold({0: {}}, expired) != []
    assert _untold(table, {("t", 0, 3)}) == ["('t', 0, 4) is told as a gap and was there"]
    assert _untold({1: table[0]}, expired) != []


def test_a_workflow_in_two_partitions() -> None:
    row = {b"hacme\0w": b""}
    assert _in_two_partitions({0: row, 1: {}}) == []
    assert _in_two_partitions({0: row, 1: row}) == ["a row of a workflow is in partitions 0 and 1"]


def test_offsets_that_go_back_or_lie_outside_the_log() -> None:
    tp = TopicPartition("t", 0)
    assert steps_back({tp: [1, 5, None, 2, 2]}) == []
    assert steps_back({tp: [1, 5, 4]}) == ["committed offset of t[0]: 5, then 4"]
    for committed, right in ((2, False), (3, True), (7, True), (8, False)):
        assert (outside({tp: committed}, {tp: 3}, {tp: 7}) == []) is right, committed
