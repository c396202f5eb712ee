"""replay start, show, results: as an operator types them, against a worker and an investigator."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from replayer.commands.results import Tally
from tests.e2e.roles import Role, command, environment, running
from topics.results import ReplayResult, TerminalRecord, decode_result

pytestmark = pytest.mark.broker

Settings = dict[str, str]


@pytest.fixture(scope="module")
def roles(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings with which commands reach a worker that has a companion investigator."""
    directory = tmp_path_factory.mktemp("replays")
    app_id = f"replays-{time.time_ns():x}"
    own = [environment(broker, app_id, directory / name) for name in ("worker", "investigator")]
    command(own[0], "topics", "create")
    with running(*(Role(n, s, directory / f"{n}.log") for n, s in zip(("worker", "investigator"), own, strict=True))):
        yield own[0]


@pytest.fixture(scope="module")
def told(roles: Settings) -> dict[str, Any]:
    tenant = f"ops{time.time_ns():x}"
    told: dict[str, Any] = command(
        roles, "simulate", "--workflows", "8", "--tenants", tenant, "--no-artefacts", "--json"
    )
    return {**told, "tenant": tenant}


def run(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "replayer.cli", *arguments]
    return subprocess.run(line, env=settings, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="module")
def replay(roles: Settings, told: dict[str, Any]) -> dict[str, Any]:
    workflow = told["first_workflow"]
    return command(
        roles,
        *("replay", "start", "--workflow", workflow["workflow_id"], "--tenant", workflow["tenant_id"]),
        *("--name", "INC-42", "--purpose", "why the refund", "--requester", "ann", "--wait", "--json"),
    )


def test_a_replay_is_started_waited_for_and_shown(roles: Settings, replay: dict[str, Any]) -> None:
    assert replay["state"] == "COMPLETED"
    assert (replay["name"], replay["purpose"], replay["requester"]) == ("INC-42", "why the refund", "ann")
    assert command(roles, "replay", "show", replay["replay_id"], "--json") == replay
    for_people = command(roles, "replay", "show", replay["replay_id"])
    assert "COMPLETED" in for_people
    assert replay["digest"] in for_people


def test_a_used_id_is_the_same_replay_or_refused(roles: Settings, told: dict[str, Any], replay: dict[str, Any]) -> None:
    workflow = told["first_workflow"]
    arguments = ("replay", "start", "--workflow", workflow["workflow_id"], "--tenant", workflow["tenant_id"])
    arguments = (*arguments, "--name", "INC-42", "--id", replay["replay_id"], "--purpose")
    again = run(roles, *arguments, "why the refund", "--requester", "ann", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["accepted"] is True
    for another in (("something else", "--requester", "ann"), ("why the refund", "--requester", "bob")):
        for form in ((), ("--wait",), ("--json",)):
            refused = run(roles, *arguments, *another, *form)
            assert (refused.returncode, refused.stdout) == (1, "")
            assert f"Replay {replay['replay_id']} exists with another request" in refused.stderr
    assert command(roles, "replay", "show", replay["replay_id"], "--json")["purpose"] == "why the refund"


def test_a_replay_of_a_stretch_of_time_is_known_as_ours(roles: Settings) -> None:
    window = ("--since", "2001-01-01T01:00:00.5+01:00", "--until", "2001-01-02T00:00:00", "--rate", "1000")
    narrow = {**roles, "COLUMNS": "40"}  # a command to copy is not broken by the width of a window
    done = run(narrow, "replay", "start", "--everything", *window, "--name", "n", "--purpose", "p")
    assert done.returncode == 0, done.stderr
    assert "was accepted: replayer replay show r-" in done.stdout
    assert done.stderr == ""


def test_its_results_are_the_events_of_the_workflow_and_end_with_a_terminal_record(
    roles: Settings, told: dict[str, Any], replay: dict[str, Any]
) -> None:
    done = run(roles, "replay", "results", replay["replay_id"], "--json")
    assert done.returncode == 0, done.stderr
    *found, terminal = [decode_result(line.encode()) for line in done.stdout.splitlines()]
    assert isinstance(terminal, TerminalRecord)
    assert terminal.count == len(found) == replay["matched"] > 10
    workflow = told["first_workflow"]["workflow_id"]
    timeline = command(roles, "timeline", workflow, "--tenant", told["tenant"], "--json")
    assert {one.event.event_id for one in found} == {item["event_id"] for item in timeline["items"]}


def test_results_for_people_are_summed_up_and_verified(roles: Settings, replay: dict[str, Any]) -> None:
    done = run(roles, "replay", "results", replay["replay_id"], "--limit", "3")
    assert done.returncode == 0
    assert f"only the first 3 of {replay['matched']} results" in done.stderr
    assert f"COMPLETED: {replay['matched']} results, digest {replay['digest'][:16]}… verified" in done.stdout


def test_results_that_do_not_add_up_are_noticed(roles: Settings, replay: dict[str, Any]) -> None:
    lines = run(roles, "replay", "results", replay["replay_id"], "--json").stdout.splitlines()
    *found, terminal = [decode_result(line.encode()) for line in lines]

    def mismatch(*records: ReplayResult | TerminalRecord) -> str | None:
        tally = Tally()
        for record in records:
            tally.add(record)
        return tally.mismatch()

    assert mismatch(*found, terminal) is None
    assert mismatch(*reversed(found), terminal) is None, "in any order"
    assert "terminal record is missing" in mismatch(*found)
    assert f"{len(found) - 1} of {len(found)}" in mismatch(*found[1:], terminal)
    changed = found[0].model_copy(update={"sha256": "0" * 64})
    assert "digest" in mismatch(changed, *found[1:], terminal)


@pytest.mark.parametrize("what", ["show", "results"])
def test_an_unknown_replay_is_exit_code_3(roles: Settings, what: str) -> None:
    done = run(roles, "replay", what, "r-none")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("replayer: ")


def test_everything_in_a_range_of_time_that_is_empty(roles: Settings, told: dict[str, Any]) -> None:
    window = ("--since", "2001-01-01T00:00:00", "--until", "2001-01-02T00:00:00")
    done = run(
        roles, *("replay", "start", "--everything", *window, "--name", "n", "--purpose", "p", "--wait", "--json")
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["state"], answer["matched"]) == ("COMPLETED", 0)
    assert command(roles, "replay", "results", answer["replay_id"], "--json")["count"] == 0
