"""Replays through the views: rows as the product's fold makes them, from commands and progress."""

from __future__ import annotations

import pytest

from tests.serve.serve_cluster import Cluster, Worker
from tests.serve.serve_data import Log
from tests.serve.serve_replays import progress, tell
from topics.catalogue import REPLAY_PROGRESS
from topics.progress import State


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
