"""150 recorded runs, imported by the command, asked for over HTTP: nothing here calls replayer's functions.

Shown: every message of the runs is in exactly one timeline, in order; one decision for each user message; tool results
tied to their calls; texts verified by SHA-256. What is expected comes from the file alone.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from replayer.commands.failures import CommandFailed, Exit
from replayer.commands.views import Views
from tests.conftest import NOT_HERE
from tests.e2e.roles import Role, command, environment, running

FILE = Path(__file__).parents[2] / "../shared/data/tau-bench/gpt-4o-airline.train.json.gz"
MESSAGE = re.compile(r"-m(\d{3})$")
ROLES = {
    "stage.completed": "system",
    "workflow.request_received": "user",
    "model.invocation_completed": "assistant",
    "tool.call_completed": "tool",
}
TEXTS = {"system": "artefact", "user": "request", "assistant": "completion", "tool": "output"}

Run = dict[str, Any]
Item = dict[str, Any]
Told = dict[str, Any]

pytestmark = pytest.mark.broker


@dataclass(frozen=True)
class Worker:
    """A worker process: its settings, its web views, and where its artefacts are."""

    settings: dict[str, str]
    views: Views
    artefacts: Path


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    if not FILE.exists():
        pytest.skip(NOT_HERE)
    return json.loads(gzip.decompress(FILE.read_bytes()))


@pytest.fixture(scope="module")
def worker(broker: str, runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    directory = tmp_path_factory.mktemp("taubench")
    artefacts = directory / "artefacts"
    settings = environment(
        broker,
        f"taubench-{time.time_ns():x}",
        directory / "data",
        ARTEFACT_DIR=str(artefacts),
        RATE_LIMIT_PER_S="100000",
    )
    command(settings, "topics", "create")
    role = Role("worker", settings, directory / "worker.log")
    with running(role):
        yield Worker(settings, Views(role.url), artefacts)


@pytest.fixture(scope="module")
def tenant(worker: Worker) -> str:
    return f"tau-{time.time_ns():x}"


@pytest.fixture(scope="module")
def told(worker: Worker, tenant: str, runs: list[Run]) -> dict[tuple[int, int], Told]:
    """What the views tell of each run, by task and trial, once all events are there."""
    answer = command(worker.settings, "import", "tau-bench", str(FILE), "--tenant", tenant, "--json")
    assert (answer["workflows"], answer["messages"]) == (150, sum(len(run["traj"]) for run in runs))
    heads = seen(worker, tenant, answer["events"])
    found = {}
    for head in heads:
        workflow = head["workflow_id"]
        task, trial = map(int, workflow.removeprefix(f"{answer['dataset']}-").split("-"))
        path = ("v1", "workflows", workflow)
        found[(task, trial)] = {
            "head": head,
            "items": list(worker.views.pages(*path, "timeline", tenant=tenant)),
            "decisions": list(worker.views.pages(*path, "decisions", tenant=tenant)),
        }
    return found


def seen(worker: Worker, tenant: str, events: int) -> list[Item]:
    """The tenant's workflows, once they hold so many events."""
    deadline = time.monotonic() + 120
    while True:
        heads = list(worker.views.pages("v1", "workflows", tenant=tenant))
        there = sum(head["events"] for head in heads)
        if there >= events:
            return heads
        assert time.monotonic() < deadline, f"{there} of {events} events are visible"
        time.sleep(0.3)


def messages(told: Told) -> list[Item]:
    return [item for item in told["items"] if MESSAGE.search(item["event_id"])]


def text(worker: Worker, ref: Item) -> bytes:
    """The artefact a reference names, read from the store's directory and verified."""
    assert ref["uri"] == f"artefact:sha256/{ref['sha256']}"
    content = (worker.artefacts / "sha256" / ref["sha256"][:2] / ref["sha256"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == ref["sha256"]
    assert len(content) == ref["size_bytes"]
    return content


def test_every_run_is_one_workflow(runs: list[Run], told: dict[tuple[int, int], Told]) -> None:
    assert sorted(told) == sorted((run["task_id"], run["trial"]) for run in runs)
    assert {one["head"]["status"] for one in told.values()} == {"completed"}
    for one in told.values():
        assert one["head"]["events"] == len(one["items"])
        assert one["head"]["marks"]["conflicts"] == 0


def test_every_message_is_in_exactly_one_timeline_in_order(
    worker: Worker, runs: list[Run], told: dict[tuple[int, int], Told]
) -> None:
    everywhere: Counter[str] = Counter()
    for run in runs:
        events = messages(told[(run["task_id"], run["trial"])])
        everywhere.update(item["event_id"] for item in events)
        assert [int(MESSAGE.search(item["event_id"]).group(1)) for item in events] == list(range(len(run["traj"])))
        for message, item in zip(run["traj"], events, strict=True):
            assert ROLES[item["event_type"]] == message["role"]
            ref = item["data"].get(TEXTS[message["role"]])
            if message["content"] is None:
                assert ref is None
            else:
                assert text(worker, ref) == message["content"].encode()
    assert set(everywhere.values()) == {1}
    assert len(everywhere) == sum(len(run["traj"]) for run in runs) == 3916


def test_one_decision_for_each_user_message(runs: list[Run], told: dict[tuple[int, int], Told]) -> None:
    for run in runs:
        one = told[(run["task_id"], run["trial"])]
        asked = sum(message["role"] == "user" for message in run["traj"])
        assert len(one["decisions"]) == asked
        assert {decision["counts"]["workflow.request_received"] for decision in one["decisions"]} == {1}
        assert sum(decision["events"] for decision in one["decisions"]) == len(one["items"])
        order = [item["decision_id"] for item in messages(one)]
        assert order == sorted(order), "a decision holds its user message and everything until the next"


def test_tool_results_are_tied_to_their_calls(
    worker: Worker, runs: list[Run], told: dict[tuple[int, int], Told]
) -> None:
    tied = 0
    for run in runs:
        items = {item["event_id"]: item for item in told[(run["task_id"], run["trial"])]["items"]}
        for index, message in enumerate(run["traj"]):
            if message["role"] != "tool":
                continue
            (answer,) = [item for item in items.values() if item["event_id"].endswith(f"-m{index:03d}")]
            call = items[answer["parent_event_id"]]
            (recorded,) = run["traj"][index - 1]["tool_calls"]  # in these runs the message before is the call
            assert call["event_type"] == "tool.call_started"
            assert call["event_id"].endswith(f"-m{index - 1:03d}-call0")
            assert call["data"]["call_id"] == answer["data"]["call_id"] == recorded["id"] == message["tool_call_id"]
            assert call["data"]["tool_name"] == answer["data"]["tool_name"] == recorded["function"]["name"]
            assert text(worker, call["data"]["input"]) == recorded["function"]["arguments"].encode()
            tied += 1
    assert tied == 862


def test_the_policy_text_is_the_prompt_template_by_its_hash(runs: list[Run], told: dict[tuple[int, int], Told]) -> None:
    for run in runs:
        one = told[(run["task_id"], run["trial"])]
        expected = hashlib.sha256(run["traj"][0]["content"].encode()).hexdigest()
        invoked = [item for item in one["items"] if item["event_type"] == "model.invocation_completed"]
        assert len(invoked) == sum(message["role"] == "assistant" for message in run["traj"])
        assert {item["data"]["prompt_template"]["sha256"] for item in invoked} == {expected}
        assert one["head"]["templates"] == [f"airline-agent-policy@sha-{expected[:12]}"]


def test_the_reward_is_the_feedback(runs: list[Run], told: dict[tuple[int, int], Told]) -> None:
    for run in runs:
        items = told[(run["task_id"], run["trial"])]["items"]
        (feedback,) = [item for item in items if item["event_type"] == "feedback.received"]
        assert feedback["data"]["score"] == run["reward"]


def test_importing_again_adds_nothing(worker: Worker, tenant: str, told: dict[tuple[int, int], Told]) -> None:
    before = {one["head"]["workflow_id"]: one["head"] for one in told.values()}
    events = sum(head["events"] for head in before.values())
    command(worker.settings, "import", "tau-bench", str(FILE), "--tenant", tenant)
    deadline = time.monotonic() + 120
    while True:
        after = {head["workflow_id"]: head for head in seen(worker, tenant, events)}
        if sum(head["marks"]["duplicates"] for head in after.values()) >= events:
            break
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert {name: (head["events"], head["digest"]) for name, head in after.items()} == {
        name: (head["events"], head["digest"]) for name, head in before.items()
    }


def test_the_command_line_shows_a_run(worker: Worker, tenant: str, told: dict[tuple[int, int], Told]) -> None:
    one = told[(0, 0)]
    workflow = one["head"]["workflow_id"]
    shown = command(worker.settings, "timeline", workflow, "--tenant", tenant, "--json")
    assert [item["event_id"] for item in shown["items"]] == [item["event_id"] for item in one["items"]]
    assert not shown["more"]
    text = command(worker.settings, "timeline", workflow, "--tenant", tenant)
    assert "airline-agent-policy@sha-" in text
    assert text.count("tool answered") == sum(item["event_type"] == "tool.call_completed" for item in one["items"])


def test_an_unknown_workflow_is_not_found(worker: Worker, tenant: str, unique: Callable[[str], str]) -> None:
    with pytest.raises(CommandFailed) as missing:
        worker.views.get("v1", "workflows", unique("none"), tenant=tenant)
    assert missing.value.code is Exit.NOT_FOUND
