"""What heads and decisions say: the latest by (occurred, event_id), the smallest values, marks of arrival."""

from __future__ import annotations

from typing import Any

import pytest

from replayer.core import reading
from replayer.core.capped import MAX_VALUES
from tests.core.timelines import TOPICS, arrived, at, document, encoded, fold, materialised, one_topic
from tests.drawn import Log, MemoryRows


def test_sets_keep_their_smallest_values_whatever_the_order() -> None:
    events = [document("policy.evaluated", event_id=f"e{n}", agent_id=f"a{n:03}") for n in range(MAX_VALUES + 3)]
    for order in (events, events[::-1], events[5:] + events[:5]):
        rows = materialised(one_topic(*order), (9,))
        head = reading.workflow(rows, "acme", "w")
        assert head is not None
        assert head.agents == tuple(f"a{n:03}" for n in range(MAX_VALUES))
        assert head.overflow == ("agents",)
    exactly = materialised(one_topic(*events[:MAX_VALUES], *events[:MAX_VALUES]))
    head = reading.workflow(exactly, "acme", "w")
    assert head is not None
    assert head.overflow == ()


def test_late_is_what_occurred_before_the_latest_known_when_it_arrived() -> None:
    seconds = [3, 5, 4, 5, 9, 1]
    events = [document("policy.evaluated", event_id=f"e{n}", occurred_at=at(s)) for n, s in enumerate(seconds)]
    rows = materialised(one_topic(*events), (2,))
    late = {item["event_id"] for item in reading.timeline(rows, "acme", "w").items if item["marks"]["late"]}
    assert late == {"e2", "e5"}
    head = reading.workflow(rows, "acme", "w")
    assert head is not None
    assert head.late == 2


def test_commit_time_never_goes_back() -> None:
    events = [document("policy.evaluated", event_id=f"e{n}") for n in range(6)]
    records = arrived([(TOPICS[n % 3], encoded(event)) for n, event in enumerate(events)], [50, 10, 50, -1, 60, 60])
    rows = materialised(records, (4,))
    items = reading.timeline(rows, "acme", "w", order="commit").items
    assert [item["event_id"] for item in items] == [f"e{n}" for n in range(6)]
    stamps = [item["commit_ts"] for item in items]
    assert stamps == sorted(set(stamps))
    assert [stamp[-8:-1] for stamp in stamps] == ["." + us for us in
            ("050000", "050001", "050002", "050003", "060000", "060001")]  # fmt: skip


@pytest.mark.parametrize(
    ("types", "head_status", "decision_status"),
    [
        (["policy.evaluated"], "running", "open"),
        (["workflow.request_received", "workflow.response_generated"], "running", "answered"),
        (["workflow.request_received", "workflow.completed"], "completed", "completed"),
        (["workflow.completed", "workflow.human_override"], "overridden", "overridden"),
        (["workflow.human_override", "workflow.failed", "policy.evaluated"], "failed", "failed"),
        (["workflow.completed", "workflow.request_received"], "running", "open"),
    ],
)
def test_status_is_the_latest_events(types: list[str], head_status: str, decision_status: str) -> None:
    events = [document(kind, event_id=f"e{n}", occurred_at=at(n)) for n, kind in enumerate(types)]
    for order in (events, events[::-1]):
        rows = materialised(one_topic(*order))
        head = reading.workflow(rows, "acme", "w")
        assert head is not None
        assert head.status == head_status
        assert reading.decisions(rows, "acme", "w").items[0]["status"] == decision_status


def test_a_decision_knows_its_templates_models_policies_and_feedback() -> None:
    def model(n: int, version: str) -> dict[str, Any]:
        template = {"template_id": "answer", "version": version}
        data = {"provider": "p", "model": "m", "prompt_template": template, "latency_ms": 100,
                "tokens": {"input": 10, "output": 1}}  # fmt: skip
        return document("model.invocation_completed", event_id=f"m{n}", occurred_at=at(n), decision_id="d", data=data)

    feedback = {"score": 0.25, "label": "bad", "reviewer": "r-1", "reviewer_kind": "human", "comment": "no"}
    events = [
        model(2, "2"), model(1, "1"),
        document("policy.evaluated", event_id="p", decision_id="d",
                 data={"policy_id": "pii", "policy_version": "3", "outcome": "redact"}),
        document("feedback.received", event_id="f2", decision_id="d", occurred_at=at(9), data=feedback),
        document("feedback.received", event_id="f1", decision_id="d", occurred_at=at(8), data={"score": 1}),
        document("tool.call_failed", event_id="elsewhere"),
    ]  # fmt: skip
    rows = materialised(one_topic(*events))
    said = reading.decision(rows, "acme", "w", "d")
    assert said is not None
    assert (said["template"], said["templates"], said["model"]) == ("answer@2", ["answer@1", "answer@2"], "p/m")
    assert (said["latency_ms"], said["tokens"]) == (200, {"input": 20, "output": 2})
    assert (said["policy_outcomes"], said["policies"]) == ({"redact": 1}, ["pii@3 redact"])
    assert said["feedback"]["count"] == 2
    assert said["feedback"]["latest"]["score"] == 0.25
    assert said["tools"] == []
    own = reading.decision(rows, "acme", "w", None)
    assert own is not None
    assert (own["tools"], own["events"]) == (["t1"], 1)
    assert reading.decision(rows, "acme", "w", "unknown") is None


def test_sums_of_hostile_numbers_stay_writable() -> None:
    data = {"provider": "p", "model": "m", "latency_ms": 2**53 - 1, "tokens": {"input": 2**53 - 1, "output": 0}}
    events = [document("model.invocation_completed", event_id=f"e{n}", data=data) for n in range(1100)]
    said = reading.decision(materialised(one_topic(*events)), "acme", "w", None)
    assert said is not None
    assert said["latency_ms"] == said["tokens"]["input"] == 2**53 - 1


def test_late_is_against_its_own_log_only() -> None:
    """A lane reads one log after the other: what another log says of later times makes nothing late."""
    one = [document("policy.evaluated", event_id=f"a{n}", occurred_at=at(n)) for n in (1, 5)]
    other = [document("policy.evaluated", event_id=f"b{n}", occurred_at=at(n)) for n in (3, 2)]
    rows = MemoryRows()
    log = [
        *(Log(TOPICS[0], offset, encoded(event)) for offset, event in enumerate(one)),
        *(Log(TOPICS[1], offset, encoded(event)) for offset, event in enumerate(other)),
    ]
    rows.write(fold(rows, log).stored)
    marked = {item["event_id"] for item in reading.timeline(rows, "acme", "w").items if item["marks"]["late"]}
    assert marked == {"b2"}
