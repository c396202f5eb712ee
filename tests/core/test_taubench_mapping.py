"""tau-bench runs as workflows: the recorded runs, and runs nobody recorded."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.core.errors import InvalidRun
from replayer.core.taubench import Imported, Origin, imported
from tests.conftest import NOT_HERE
from topics.codec import Event, decode
from topics.events import EventModel, wire

FILE = Path(__file__).parents[2] / "../shared/data/tau-bench/gpt-4o-airline.train.json.gz"
ORIGIN = Origin(dataset="gpt-4o-airline.train")

Run = dict[str, Any]


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    if not FILE.exists():
        pytest.skip(NOT_HERE)
    return json.loads(gzip.decompress(FILE.read_bytes()))


def message_events(workflow: Imported) -> list[EventModel]:
    return [event for event in workflow.events if event.event_id.rpartition("-")[2].removeprefix("m").isdigit()]


def text_ref(event: EventModel) -> Any:
    """The reference to the message's own text, whatever the event calls it."""
    names = {
        "stage.completed": "artefact",
        "workflow.request_received": "request",
        "model.invocation_completed": "completion",
        "tool.call_completed": "output",
    }
    return getattr(event.data, names[event.event_type])


def in_time(workflow: Imported) -> list[EventModel]:
    return sorted(workflow.events, key=lambda event: (event.occurred_at, event.event_id))


def test_every_message_is_in_exactly_one_event_in_order_with_its_text(runs: list[Run]) -> None:
    messages = 0
    for run in runs:
        workflow = imported(run, ORIGIN)
        assert in_time(workflow) == list(workflow.events), "the made-up clock keeps the recorded order"
        assert len({event.event_id for event in workflow.events}) == len(workflow.events)
        texts = {kept.ref.uri: kept.content for kept in workflow.artefacts}
        events = message_events(workflow)
        assert len(events) == len(run["traj"])
        for message, event in zip(run["traj"], events, strict=True):
            ref = text_ref(event)
            if message["content"] is None:
                assert ref is None
                continue
            assert texts[ref.uri] == message["content"].encode()
            assert ref.sha256 == hashlib.sha256(message["content"].encode()).hexdigest()
            assert ref.size_bytes == len(message["content"].encode())
            messages += 1
    assert len(runs) == 150
    assert messages == 3916 - 791, "791 of the 3,916 messages are tool calls without a text"


def test_one_decision_per_user_message(runs: list[Run]) -> None:
    for run in runs:
        workflow = imported(run, ORIGIN)
        asked = [event for event in workflow.events if event.event_type == "workflow.request_received"]
        decisions = list(dict.fromkeys(event.decision_id for event in asked))
        assert len(decisions) == len(asked) == sum(message["role"] == "user" for message in run["traj"])
        assert {event.decision_id for event in workflow.events} == set(decisions)
        by_decision = [event.decision_id for event in message_events(workflow)]
        assert by_decision == sorted(by_decision), "a decision holds its user message and all until the next"


def test_tool_answers_hang_on_the_calls_they_answer_although_ids_repeat(runs: list[Run]) -> None:
    repeated = 0
    for run in runs:
        workflow = imported(run, ORIGIN)
        events = {event.event_id: event for event in workflow.events}
        refs = {kept.ref.uri: kept.content.decode() for kept in workflow.artefacts}
        recorded = [
            (call["id"], call["function"]["name"], call["function"]["arguments"], answer["content"])
            for before, answer in zip(run["traj"], run["traj"][1:], strict=False)
            for call in before.get("tool_calls") or []
        ]
        told = []
        for event in workflow.events:
            if event.event_type != "tool.call_completed":
                continue
            call = events[event.parent_event_id]
            assert call.event_type == "tool.call_started"
            assert events[call.parent_event_id].event_type == "model.invocation_completed"
            assert (call.data.call_id, call.data.tool_name) == (event.data.call_id, event.data.tool_name)
            told.append(
                (call.data.call_id, call.data.tool_name, refs[call.data.input.uri], refs[event.data.output.uri])
            )
        assert told == recorded, "in these runs the message after a call is its answer"
        repeated += len(recorded) - len({call_id for call_id, *_ in recorded})
    assert repeated == 56, "the trap: 56 calls bear the id of an earlier one of their run"


def test_the_policy_text_is_the_prompt_template_by_its_hash(runs: list[Run]) -> None:
    templates: Counter[tuple[str, str, str]] = Counter()
    for run in runs:
        expected = hashlib.sha256(run["traj"][0]["content"].encode()).hexdigest()
        for event in imported(run, ORIGIN).events:
            if event.event_type == "model.invocation_completed":
                template = event.data.prompt_template
                assert template.sha256 == expected
                templates[(template.template_id, template.version, template.sha256)] += 1
    ((name, version, sha256),) = templates
    assert (name, version) == ("airline-agent-policy", f"sha-{sha256[:12]}")


def test_reward_and_end(runs: list[Run]) -> None:
    scores: Counter[float] = Counter()
    for run in runs:
        *_, reward, end = imported(run, ORIGIN).events
        assert (reward.event_type, end.event_type) == ("feedback.received", "workflow.completed")
        scores[reward.data.score] += 1
    assert scores == {0.0: 87, 1.0: 63}


def test_again_gives_the_same_bytes_and_the_wire_accepts_them(runs: list[Run]) -> None:
    sent = [wire(event) for run in runs for event in imported(run, ORIGIN).events]
    assert sent == [wire(event) for run in runs for event in imported(run, ORIGIN).events]
    assert all(isinstance(decode(raw), Event) for raw in sent)
    ids = [event.event_id for run in runs for event in imported(run, ORIGIN).events]
    assert len(set(ids)) == len(ids)


def test_the_source_says_that_the_clock_is_made_up_and_nothing_claims_to_be_measured(runs: list[Run]) -> None:
    for event in imported(runs[0], ORIGIN).events:
        assert "clock made up" in event.source
        assert getattr(event.data, "latency_ms", None) is None


def test_trials_of_a_task_share_a_correlation_id(runs: list[Run]) -> None:
    trials = Counter({imported(run, ORIGIN).events[0].correlation_id for run in runs})
    assert len(trials) == 50


def run_of(*messages: dict[str, Any], **fields: Any) -> Run:
    return {"task_id": 1, "trial": 0, "traj": list(messages), **fields}


def call(call_id: str, name: str = "look") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": "{}"}}


USER = {"role": "user", "content": "hi"}


def test_several_calls_with_one_id_are_answered_oldest_first() -> None:
    workflow = imported(
        run_of(
            USER,
            {"role": "assistant", "content": None, "tool_calls": [call("x", "first"), call("x", "second")]},
            {"role": "tool", "tool_call_id": "x", "content": "1"},
            {"role": "tool", "tool_call_id": "x", "content": "2"},
        ),
        ORIGIN,
    )
    answers = [event for event in workflow.events if event.event_type == "tool.call_completed"]
    assert [(event.parent_event_id.rpartition("-")[2], event.data.tool_name) for event in answers] == [
        ("call0", "first"),
        ("call1", "second"),
    ]


def test_an_answer_to_no_call_is_kept_and_hangs_on_nothing() -> None:
    workflow = imported(run_of(USER, {"role": "tool", "tool_call_id": "x", "name": "look", "content": "1"}), ORIGIN)
    answer = workflow.events[1]
    assert (answer.event_type, answer.parent_event_id) == ("tool.call_completed", None)


def test_without_a_user_message_all_belongs_to_the_workflows_own_decision() -> None:
    workflow = imported(run_of({"role": "assistant", "content": "hello?"}, reward=1.0), ORIGIN)
    assert {event.decision_id for event in workflow.events} == {None}


def test_the_reward_belongs_to_the_decision_in_which_the_model_last_acted() -> None:
    goodbye = {"role": "user", "content": "bye"}
    workflow = imported(run_of(USER, {"role": "assistant", "content": "yes?"}, goodbye, reward=0.0), ORIGIN)
    reward, end = workflow.events[-2:]
    assert [event.decision_id.rpartition("-")[2] for event in (reward, end)] == ["d01", "d02"]


@pytest.mark.parametrize(
    ("run", "named"),
    [
        ({}, "task_id"),
        (run_of(), "traj"),
        (run_of({"role": "robot", "content": "SECRET"}), "traj.0.role"),
        (run_of(USER, {"role": "user", "content": ["SECRET"]}), "traj.1.content"),
        (run_of({"role": "user", "content": "SECRET\ud800"}), "traj.0.content"),
        (run_of({"role": "tool", "content": "SECRET"}), "traj.0.tool_call_id"),
        (run_of({"role": "tool", "content": "SECRET", "tool_call_id": "x"}), "traj.0.name"),
        (run_of({"role": "tool", "content": "", "tool_call_id": "SECRET" * 99, "name": "n"}), "call_id"),
        (run_of({"role": "assistant", "tool_calls": [{"id": "x"}]}), "traj.0.tool_calls.0.function"),
        (run_of(USER, task_id=-1), "task_id"),
        (run_of(USER, task_id="1"), "task_id"),
        (run_of(USER, reward=float("nan")), "score"),
    ],
)
def test_what_breaks_a_rule_is_named_and_never_quoted(run: Run, named: str) -> None:
    with pytest.raises(InvalidRun) as refused:
        imported(run, ORIGIN)
    assert named in str(refused.value)
    assert "SECRET" not in str(refused.value)


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"])},
    optional={
        "content": st.none() | st.text(max_size=20) | JSONISH,
        "name": st.text(max_size=5),
        "tool_call_id": st.sampled_from(["a", "b", ""]),
        "tool_calls": st.lists(st.builds(call, st.sampled_from(["a", "b", ""])), max_size=3) | JSONISH,
    },
)


@given(st.builds(run_of, *[MESSAGE] * 5, info=JSONISH, reward=st.none() | st.floats()))
def test_any_run_is_a_whole_workflow_or_a_named_refusal(run: Run) -> None:
    try:
        workflow = imported(run, ORIGIN)
    except InvalidRun:
        return
    assert len(message_events(workflow)) == 5
    assert in_time(workflow) == list(workflow.events)
    assert workflow.events[-1].event_type == "workflow.completed"
    assert {kept.ref.uri for kept in workflow.artefacts} >= {
        ref.uri for event in message_events(workflow) if (ref := text_ref(event)) is not None
    }
