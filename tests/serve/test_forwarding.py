"""Any worker answers for any workflow: one hop, to the owner and nowhere else, and never a wrong answer meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest
from aiohttp import web

from replayer.serve.peers import HOP
from replayer.serve.peers import PARTITIONS as PARTITIONS_HEADER
from replayer.serve.ports import Status
from replayer.settings import Token
from tests.serve.serve_cluster import PARTITIONS, Cluster, Worker, free_port, partition_of
from tests.serve.serve_data import Log
from tests.serve.serve_peers import again_in, deaf, stranger
from tests.serve.serve_story import story

TOKEN = Token(name="ann", role="reader", sha256=hashlib.sha256(b"ann's").hexdigest())
PATHS = [
    "/v1/workflows/w-1?tenant=acme",
    "/v1/workflows/w-1/timeline?tenant=acme&order=commit&limit=3",
    "/v1/workflows/w-1/decisions?tenant=acme",
    "/v1/workflows/w-1/decisions/d-1?tenant=acme",
    "/v1/workflows/nobody?tenant=acme",
    "/v1/workflows/nobody/timeline?tenant=acme",
    "/v1/workflows/w-1/decisions/nothing?tenant=acme",
    "/v1/workflows/a%2Fb%7B%7D%25%3F?tenant=acme",
    "/v1/replays/nothing",
]


async def three(cluster: Cluster, **settings: Any) -> list[Worker]:
    workers = await cluster.start(3, **settings)
    log = Log(cluster.world)
    log.events(story("w-1"))
    log.events(story("a/b{}%?"))
    return workers


def owner_and_others(workers: list[Worker], workflow_id: str = "w-1") -> tuple[Worker, list[Worker]]:
    owner = workers[partition_of(workflow_id) % len(workers)]
    return owner, [worker for worker in workers if worker is not owner]


@pytest.mark.parametrize("path", PATHS)
async def test_every_worker_gives_the_same_answer(cluster: Cluster, path: str) -> None:
    workers = await three(cluster)
    replies = [await worker.get(path) for worker in workers]
    assert len({(reply.status, reply.body, reply.headers["Content-Type"]) for reply in replies}) == 1
    assert replies[0].status == (404 if "noth" in path or "nobody" in path else 200)
    assert all(reply.headers["X-Content-Type-Options"] == "nosniff" for reply in replies)
    asked = sorted([status for _, status in worker.metrics.asked] for worker in workers)
    assert asked == [[], [replies[0].status], [replies[0].status]], "each but the owner asked once, and counted it"


async def test_pages_may_come_from_any_worker(cluster: Cluster) -> None:
    workers = await three(cluster)
    path, cursor, seen = "/v1/workflows/w-1/timeline?tenant=acme&limit=1", "", []
    for turn in range(6):
        said = (await workers[turn % 3].get(path + cursor)).json
        seen += [item["event_id"] for item in said["items"]]
        cursor = f"&cursor={said['next_cursor']}"
    assert seen == [f"w-1-{n}" for n in range(6)]
    assert said["next_cursor"] is None


async def test_head_is_forwarded_without_a_body(cluster: Cluster) -> None:
    owner, (other, _) = owner_and_others(await three(cluster))
    reply = await other.get(PATHS[0], method="HEAD")
    assert (reply.status, reply.body) == (200, b"")
    assert int(reply.headers["Content-Length"]) == len((await owner.get(PATHS[0])).body)


async def test_the_callers_token_goes_along(cluster: Cluster) -> None:
    _, others = owner_and_others(await three(cluster, tokens=(TOKEN,)))
    for other in others:
        assert (await other.get(PATHS[0])).status == 401
        assert (await other.get(PATHS[0], headers={"Authorization": "Bearer ann's"})).status == 200


@pytest.mark.usefixtures("clock")
async def test_the_hop_header_opens_no_door(cluster: Cluster) -> None:
    owner, (other, _) = owner_and_others(await three(cluster, tokens=(TOKEN,), rate_limit_per_s=5))
    for worker in (owner, other):
        assert (await worker.get(PATHS[0], headers={HOP: "1"})).status == 401
    headers = {HOP: "1", PARTITIONS_HEADER: "0", "Authorization": "Bearer ann's"}
    statuses = [(await owner.get(PATHS[0], headers=headers)).status for _ in range(20)]
    assert statuses == [200] * 5 + [429] * 15


@pytest.mark.usefixtures("clock")
async def test_a_limit_at_the_owner_reaches_the_caller(cluster: Cluster) -> None:
    owner, others = owner_and_others(await three(cluster, tokens=(TOKEN,), rate_limit_per_s=4))
    headers = {"Authorization": "Bearer ann's"}
    statuses = [(await owner.get(PATHS[0], headers=headers)).status for _ in range(5)]
    assert statuses == [200] * 4 + [429]
    reply = await others[0].get(PATHS[0], headers=headers)
    assert (reply.status, reply.field) == (429, None)
    assert int(reply.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("known", [None, "itself"])
async def test_while_nobody_owns_it(cluster: Cluster, known: str | None) -> None:
    """Unassigned, or assigned here and not yet recovered: not a 404, which would deny what is there."""
    _, (other, _) = owner_and_others(await three(cluster))
    other.tables.believes[partition_of("w-1")] = other.url if known else None
    again_in(await other.get(PATHS[0]))


async def test_during_a_rebalance_nothing_is_forwarded(cluster: Cluster) -> None:
    owner, (other, _) = owner_and_others(await three(cluster))
    other.tables.state = Status(True, True, True, "joining")
    again_in(await other.get(PATHS[0]))
    owner.tables.state = other.tables.state
    assert (await owner.get(PATHS[0])).status == 200  # its own rows are still its own


async def test_two_workers_that_point_at_each_other_do_not_loop(cluster: Cluster) -> None:
    owner, (one, two) = owner_and_others(await three(cluster))
    partition = partition_of("w-1")
    cluster.world.owners["timelines", partition] = "http://gone"
    one.tables.believes[partition], two.tables.believes[partition] = two.url, one.url
    reply = await one.get(PATHS[0])
    assert (reply.status, reply.field) == (508, None)
    assert int(reply.headers["Retry-After"]) >= 1
    assert len(one.metrics.seen) + len(two.metrics.seen) == 2  # asked once, passed on once
    assert owner.metrics.seen == []


async def test_an_owner_that_has_lost_it_meanwhile(cluster: Cluster) -> None:
    owner, (other, _) = owner_and_others(await three(cluster))
    del cluster.world.owners["timelines", partition_of("w-1")]
    other.tables.believes[partition_of("w-1")] = owner.url
    again_in(await other.get(PATHS[0]))


async def test_an_owner_that_is_gone(cluster: Cluster) -> None:
    _, (other, _) = owner_and_others(await three(cluster))
    other.tables.believes[partition_of("w-1")] = f"http://127.0.0.1:{free_port()}"
    again_in(await other.get(PATHS[0]))
    assert other.metrics.asked == [("workflow", None)]


async def test_an_owner_that_hangs(cluster: Cluster) -> None:
    _, (other, _) = owner_and_others(await three(cluster, forward_timeout_s=0.2))
    with deaf() as url:
        other.tables.believes[partition_of("w-1")] = url
        async with asyncio.timeout(30):
            again_in(await other.get(PATHS[0]))


async def test_the_owners_answer_is_passed_on_as_it_came_and_redirects_are_not_followed(cluster: Cluster) -> None:
    _, (other, _) = owner_and_others(await three(cluster))
    async with stranger() as there:
        other.tables.believes[partition_of("w-1")] = there.url
        there.answer = web.Response(status=418, body=b"\x00\xff", content_type="application/x-tea")
        reply = await other.get(PATHS[0])
        assert (reply.status, reply.body) == (418, b"\x00\xff")
        assert reply.headers["Content-Type"] == "application/x-tea"
        there.answer = web.Response(
            status=302, headers={"Location": f"{there.url}/elsewhere", "Set-Cookie": "a=b", "Server": "Stranger"}
        )
        reply = await other.get(PATHS[0])
        assert reply.status == 302
        assert not {"Location", "Set-Cookie"} & set(reply.headers)
        assert reply.headers["Server"] == "replayer"
        assert [path for path, _ in there.seen] == [PATHS[0]] * 2


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.example/v1/workflows/w-1?tenant=acme",
        "http://evil.example:1/v1/workflows/w-1?tenant=acme",
        "//evil.example/v1/workflows/w-1?tenant=acme",
        "/v1/workflows/w-1?tenant=acme&next=http://evil.example",
        "/v1/workflows/@evil.example%2Fw-1?tenant=acme",
        "/v1/workflows/..%2F..%2Fevil?tenant=acme",
    ],
)
async def test_a_request_cannot_choose_where_it_is_sent(cluster: Cluster, target: str) -> None:
    _, (other, _) = owner_and_others(await three(cluster))
    async with stranger() as there:
        for partition in range(PARTITIONS):
            other.tables.believes[partition] = there.url
        cluster.world.owners.clear()
        port = other.url.rpartition(":")[2]
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        async with asyncio.timeout(30):
            head = await reader.read()
        writer.close()
        status = int(head.split()[1])
        assert status in (200, 400, 404), head
        for path, host in there.seen:  # if it went anywhere, then there
            assert host == there.url.removeprefix("http://")
            assert path.startswith("/v1/workflows/")
        assert bool(there.seen) == (status == 200)


async def test_what_the_owner_is_told(cluster: Cluster) -> None:
    _, (other, _) = owner_and_others(await three(cluster))
    async with stranger() as there:
        other.tables.believes[partition_of("w-1")] = there.url + "/"
        await other.get(PATHS[1], headers={"Cookie": "a=b", "X-Forwarded-For": "1.2.3.4"})
        (request,) = there.requests
        assert request.path_qs == PATHS[1]
        assert request.headers[HOP] == "1"
        assert "Cookie" not in request.headers
        assert "Authorization" not in request.headers
