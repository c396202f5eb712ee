"""Timelines for people: everything is told, nothing steers the terminal."""

from __future__ import annotations

import io
import random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from replayer.commands import rendering, wording
from replayer.core.simulation import Scenario, cases
from topics.codec import Event, decode
from topics.events import wire
from topics.fields import rfc3339
from topics.projection import project
from topics.registry import EVENT_TYPES


def items(workflows: int = 40) -> list[dict[str, Any]]:
    """Events as the timeline view serves them."""
    found = []
    for happening in cases(random.Random(3), Scenario("show", 1_767_600_000_000_000, workflows)):
        event = decode(wire(happening.event))
        assert isinstance(event, Event)
        said = orjson.loads(project(event))
        found.append(
            {
                "event_id": event.event_id,
                "event_type": event.event_type,
                "workflow_id": event.workflow_id,
                "occurred_at": rfc3339(event.occurred_us),
                "decision_id": said.get("decision_id"),
                "data": said.get("data"),
                "marks": {"conflict": False, "late": False, "future_version": False, "child_before_parent": False},
            }
        )
    return found


HEAD = {
    "tenant_id": "acme",
    "workflow_id": "show-00001",
    "status": "completed",
    "events": 3,
    "first_occurred_at": "2026-01-05T09:00:00.000000Z",
    "last_occurred_at": "2026-01-05T09:02:00.000000Z",
    "agents": ["support"],
    "templates": ["support-answer@1"],
    "policy_outcomes": {"allow": 1},
    "marks": {"late": 2, "conflicts": 0, "overflow": []},
}


def printed(head: dict[str, Any], shown: list[dict[str, Any]], **how: bool) -> str:
    out = io.StringIO()
    Console(file=out, width=200).print(rendering.timeline(head, shown, **how))
    return out.getvalue()


def test_every_event_is_one_line_with_its_time_and_what_matters() -> None:
    shown = [item for item in items() if item["workflow_id"] == "show-00001"]
    text = printed(HEAD, shown)
    assert "COMPLETED" in text
    assert "over 2 min 00 s" in text
    assert "2 late" in text
    for item in shown:
        (line,) = [
            line
            for line in text.splitlines()
            if item["occurred_at"][11:23] in line and wording.word(item["event_type"]) in line
        ]
        assert wording.said(item["event_type"], item["data"]) in line


def test_what_had_expired_is_said_at_the_top() -> None:
    gap = {"topic": "tool-events", "partition": 2, "start": 100, "end": 130, "found_at": "2026-01-05T09:00:00Z"}
    assert "missing" not in printed(HEAD | {"gaps": []}, [])
    assert "events may be missing: tool-events[2] 100 to 129 had expired" in printed(HEAD | {"gaps": [gap]}, [])


def test_events_are_grouped_by_decision_and_the_workflows_own_come_last() -> None:
    shown = [item for item in items() if item["workflow_id"] == "show-00002"]
    text = printed(HEAD, shown)
    decisions = list(dict.fromkeys(item["decision_id"] for item in shown if item["decision_id"]))
    assert [text.index(decision) for decision in decisions] == sorted(text.index(decision) for decision in decisions)
    assert text.index("The workflow itself") > text.index(decisions[-1])
    assert "Decision" not in printed(HEAD, shown, grouped=False)


def test_marks_stand_out() -> None:
    shown = items(1)[:2]
    shown[1]["marks"] = {"conflict": True, "child_before_parent": True, "late": False}
    text = printed(HEAD, shown)
    assert "⚠ in conflict" in text
    assert "⚠ before its cause" in text
    assert "⚠ late" not in text


def test_every_event_type_has_a_sign_and_a_word_and_unknown_ones_are_shown_by_name() -> None:
    assert set(wording._EVENTS) == set(EVENT_TYPES)
    item = {**items(1)[0], "event_type": "agent.dreamt", "data": None}
    assert "agent.dreamt" in printed(HEAD, [item])


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_a_projection_that_lacks_everything_is_told_all_the_same(event_type: str) -> None:
    assert isinstance(wording.said(event_type, {}), str)
    assert isinstance(wording.said(event_type, None), str)


@given(st.text())
def test_no_control_character_reaches_a_terminal(text: str) -> None:
    cleaned = wording.clean({"a": [text, {text: 1}]})
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in str(cleaned["a"][0]))


def test_a_producer_cannot_steer_the_terminal() -> None:
    item = {**items(1)[0], "data": {"channel": "\x1b]0;owned\x07\x1b[2J"}, "decision_id": "d\x1b[31m"}
    text = printed({**HEAD, "workflow_id": "w\x1b[2J", "agents": ["\x9b2J"]}, [item])
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert "[2J" in text, "shown, harmless"


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 ms"),
        (999.4, "999 ms"),
        (1000, "1.0 s"),
        (61_000, "1 min 01 s"),
        (3_599_000, "59 min 59 s"),
        (3_600_000, "1 h 00 min"),
        (200_000_000, "2 d 7 h"),
        (-90_000, "-1 min 30 s"),
        (-50, "-50 ms"),
    ],
)
def test_durations_as_people_say_them(milliseconds: float, text: str) -> None:
    assert wording.duration(milliseconds) == text


@given(st.floats(-1e12, 1e12))
def test_any_duration_is_short(milliseconds: float) -> None:
    assert len(wording.duration(milliseconds)) <= 16
