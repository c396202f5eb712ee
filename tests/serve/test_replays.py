"""Replays through the views: rows as the product's fold makes them, from commands and progress."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.serve.serve_cluster import Cluster, Worker
from tests.serve.serve_data import NOON, Log
from topics.catalogue import REPLAY_COMMANDS, REPLAY_PROGRESS
from topics.commands import (
    FromEarliest,
    ReplayCommand,
    ReplaySpec,
    SelectWorkflows,
    WorkflowRef,
    encode_command,
)
from topics.progress import Coverage, PartitionCoverage, ReplayProgress, ResultsLocation, State, encode_progress

SPEC = ReplaySpec(
    name="incident 7",
    purpose="who else got it?",
    selection=SelectWorkflows(workflows=(WorkflowRef(tenant_id="acme", workflow_id="w-1"),)),
    range=FromEarliest(),
)


def command(replay_id: str, command_id: str, action: str, spec: ReplaySpec | None = None) -> bytes:
    return encode_command(
        ReplayCommand(
            command_id=command_id, replay_id=replay_id, action=action, requester="ann", requested_at=NOON, spec=spec
        )
    )


def progress(replay_id: str, version: int, state: State) -> bytes:
    return encode_progress(
        ReplayProgress(
            replay_id=replay_id,
            version=version,
            state=state,
            read=10,
            matched=3,
            total=12,
            digest="ab" * 32,
            coverage=Coverage(
                complete=True,
                partitions=(
                    PartitionCoverage(topic="tool-events", partition=0, start=0, end=12, position=12, read=10),
                ),
            ),
            results=ResultsLocation(topic="replay-results", partition=1, first_offset=5, end_offset=9),
            started_at=NOON,
            updated_at=NOON + timedelta(seconds=version),
            ended_at=NOON + timedelta(seconds=version) if state.final else None,
        )
    )


def tell(cluster: Cluster, replay_id: str, upto: int) -> None:
    """The first `upto` of: start, running, a second start of another kind, cancel, completed."""
    log, key = Log(cluster.world), replay_id.encode()
    other = SPEC.model_copy(update={"name": "another"})
    for topic, value in (
        (REPLAY_COMMANDS.name, command(replay_id, "c-1", "start", SPEC)),
        (REPLAY_PROGRESS.name, progress(replay_id, 1, State.RUNNING)),
        (REPLAY_COMMANDS.name, command(replay_id, "c-2", "start", other)),
        (REPLAY_COMMANDS.name, command(replay_id, "c-3", "cancel")),
        (REPLAY_PROGRESS.name, progress(replay_id, 2, State.COMPLETED)),
    )[:upto]:
        log.append(topic, key, value)


@pytest.mark.parametrize(
    ("upto", "state", "cancelling", "refused"),
    [
        (1, "PLANNED", False, 0),
        (2, "RUNNING", False, 0),
        (3, "RUNNING", False, 1),
        (4, "RUNNING", True, 1),
        (5, "COMPLETED", False, 1),
    ],
)
async def test_a_replay_from_any_worker(
    cluster: Cluster, upto: int, state: str, cancelling: bool, refused: int
) -> None:
    workers = await cluster.start(3)
    tell(cluster, "inc-7.a_b", upto)
    replies = [await worker.get("/v1/replays/inc-7.a_b") for worker in workers]
    assert len({(reply.status, reply.body) for reply in replies}) == 1
    said = replies[0].json
    assert replies[0].status == 200
    assert (said["state"], said["cancelling"], len(said["refused"])) == (state, cancelling, refused)
    assert said["spec"]["selection"]["workflows"] == [{"tenant_id": "acme", "workflow_id": "w-1"}]
    assert (said["coverage"] is None) == (upto == 1)


async def test_progress_whose_command_is_not_seen_yet(cluster: Cluster) -> None:
    (worker,) = await cluster.start()
    Log(cluster.world).append(REPLAY_PROGRESS.name, b"r-1", progress("r-1", 1, State.RUNNING))
    said = (await worker.get("/v1/replays/r-1")).json
    assert (said["state"], said["spec"], said["requester"]) == ("RUNNING", None, None)


async def test_wrong_questions(cluster: Cluster) -> None:
    (worker,) = await cluster.start()
    await refused(worker, "/v1/replays/nobody", 404, None)
    await refused(worker, "/v1/replays/a%20b", 400, "replay_id")
    await refused(worker, "/v1/replays/.hidden", 400, "replay_id")
    await refused(worker, "/v1/replays/nobody?tenant=acme", 400, "tenant")
    await refused(worker, "/v1/replays", 404, None)


async def refused(worker: Worker, path: str, status: int, field: str | None) -> None:
    reply = await worker.get(path)
    assert (reply.status, reply.field) == (status, field), path
