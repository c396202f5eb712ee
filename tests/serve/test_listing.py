"""The list of workflows: all partitions of all workers in one order, exact pages, and a 503 where one is missing."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import orjson
import pytest
from aiohttp import web

from replayer.serve.peers import HOP
from replayer.serve.peers import PARTITIONS as PARTITIONS_HEADER
from replayer.serve.ports import Status
from replayer.settings import Token
from tests.serve.serve_cluster import PARTITIONS, Cluster, Worker, free_port, no_iterator_alive, partition_of
from tests.serve.serve_data import Log, happened, simulate
from tests.serve.serve_peers import again_in, deaf, stranger
from tests.serve.serve_story import all_pages, story
from topics.families.workflow import RequestReceived, WorkflowCompleted

TOKEN = Token(name="ann", role="reader", sha256=hashlib.sha256(b"ann's").hexdigest())


async def many(cluster: Cluster, workers: int = 3, **settings: Any) -> list[Worker]:
    started = await cluster.start(workers, **settings)
    simulate(cluster.world)
    return started


def names(items: list[Any]) -> list[tuple[str, str]]:
    return [(item["tenant_id"], item["workflow_id"]) for item in items]


async def test_all_workers_give_the_whole_list_in_order(cluster: Cluster) -> None:
    workers = await many(cluster)
    replies = [await worker.get("/v1/workflows?limit=1000") for worker in workers]
    assert len({reply.body for reply in replies}) == 1
    listed = names(replies[0].json["items"])
    assert replies[0].json["next_cursor"] is None
    assert len(listed) == 60
    assert listed == sorted(set(listed))
    assert len({partition_of(workflow_id) for _, workflow_id in listed}) == PARTITIONS


@pytest.mark.parametrize("limit", [1, 7, 20, 59, 60, 61])
@pytest.mark.parametrize("workers", [1, 2, 3])
async def test_pages_are_the_list(cluster: Cluster, workers: int, limit: int) -> None:
    started = await many(cluster, workers)
    whole = (await started[0].get("/v1/workflows?limit=1000")).json["items"]
    pages = await all_pages(started[-1], f"/v1/workflows?limit={limit}")
    assert [item for page in pages for item in page] == whole
    assert len(pages) == -(-60 // limit)


@pytest.mark.parametrize(
    "query",
    [
        "tenant=acme",
        "tenant=nobody",
        "status=completed",
        "status=failed",
        "agent=support",
        "agent=x",
        "tenant=globex&status=running",
    ],
)
async def test_filters(cluster: Cluster, query: str) -> None:
    workers = await many(cluster)
    whole = (await workers[0].get("/v1/workflows?limit=1000")).json["items"]
    asked = dict(part.split("=") for part in query.split("&"))
    expected = [
        item
        for item in whole
        if asked.get("tenant", item["tenant_id"]) == item["tenant_id"]
        and asked.get("status", item["status"]) == item["status"]
        and asked.get("agent", "support") in item["agents"]
    ]
    pages = await all_pages(workers[1], f"/v1/workflows?{query}&limit=4")
    assert [item for page in pages for item in page] == expected


async def test_by_trace_thread_and_time(cluster: Cluster) -> None:
    workers = await many(cluster)
    whole = (await workers[0].get("/v1/workflows?limit=1000")).json["items"]
    one = whole[17]
    for name, value in (("trace_id", one["trace_ids"][0]), ("correlation_id", one["correlation_ids"][0])):
        items = (await workers[2].get(f"/v1/workflows?{name}={value}")).json["items"]
        assert one in items
        assert items == [item for item in whole if value in item[f"{name}s"]]
    since, until = one["first_occurred_at"], one["last_occurred_at"]
    items = (await workers[1].get(f"/v1/workflows?from={since}&to={until}&limit=1000")).json["items"]
    expected = [item for item in whole if item["last_occurred_at"] >= since and item["first_occurred_at"] < until]
    assert one in expected
    assert items == expected


async def test_the_default_tenant_narrows_no_list(cluster: Cluster) -> None:
    (worker,) = await many(cluster, 1, default_tenant="acme")
    assert len({tenant for tenant, _ in names((await worker.get("/v1/workflows?limit=1000")).json["items"])}) == 3


async def test_a_page_stops_at_the_scan_budget_and_goes_on_with_no_iterator_alive(cluster: Cluster) -> None:
    workers = await cluster.start(2, list_scan_budget=100)
    log = Log(cluster.world)
    log.events(happened(RequestReceived(), f"w-{n:04d}") for n in range(1200))
    log.events([happened(WorkflowCompleted(), "w-1100", 1)])
    watching = asyncio.ensure_future(no_iterator_alive(cluster.world))
    pages = await all_pages(workers[0], "/v1/workflows?status=completed")
    assert not watching.done()
    watching.cancel()
    assert [name for page in pages for name in names(page)] == [("acme", "w-1100")]
    assert 6 <= len(pages) <= 30  # two workers, 100 rows each a page, some of them ahead of what is certain
    assert max(rows.seen for rows in cluster.world.watch()) < 3000


async def test_pages_stand_while_workflows_are_added(cluster: Cluster) -> None:
    workers = await many(cluster)
    first = (await workers[0].get("/v1/workflows?limit=30")).json
    Log(cluster.world).events(story("aaa", tenant_id="aaa") + story("zzz", tenant_id="zzz"))
    rest = await all_pages(workers[1], "/v1/workflows?limit=30", first["next_cursor"])
    listed = names(first["items"]) + [name for page in rest for name in names(page)]
    assert ("zzz", "zzz") in listed
    assert ("aaa", "aaa") not in listed
    assert len(listed) == len(set(listed)) == 61


@pytest.mark.parametrize("limit", [1, 1000])
async def test_an_unreachable_partition_is_no_shorter_list(cluster: Cluster, limit: int) -> None:
    workers = await many(cluster)
    path = f"/v1/workflows?limit={limit}"
    asked = workers[0]
    for believed in (None, asked.url, f"http://127.0.0.1:{free_port()}", workers[2].url):
        asked.tables.believes[1] = believed  # it is workers[1]'s
        reply = await asked.get(path)
        assert (reply.status, reply.field) == (503, None), believed
        assert "1" in reply.json["detail"]
        assert int(reply.headers["Retry-After"]) >= 1
    asked.tables.believes.clear()
    assert (await asked.get(path)).status == 200
    asked.tables.state = Status(True, True, True, "joining")
    again_in(await asked.get(path))


@pytest.mark.parametrize(
    ("path", "looks"),
    [("/v1/workflows?status=failed", 2), ("/v1/workflows/w-0/timeline?tenant=acme&limit=1000", 3)],
)
async def test_a_partition_that_leaves_while_it_is_read(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, path: str, looks: int
) -> None:
    (worker,) = await cluster.start(1)
    log = Log(cluster.world)
    log.events(happened(RequestReceived(), f"w-{n}") for n in range(1500))
    log.events(happened(RequestReceived(), "w-0", n) for n in range(1, 500))
    assert (await worker.get(path)).status == 200
    asked = 0
    rows_of = worker.tables.rows

    def rows(table: str, partition: int) -> Any:
        nonlocal asked
        asked += partition == partition_of("w-0")
        return None if asked > looks else rows_of(table, partition)

    monkeypatch.setattr(worker.tables, "rows", rows)
    again_in(await worker.get(path))
    assert asked == looks + 1


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (web.Response(status=500), 503),
        (web.Response(status=503), 503),
        (web.Response(status=503, text='{"items": [], "next_cursor": null}'), 503),
        (web.Response(status=404), 503),
        (web.Response(status=508), 503),
        (web.Response(status=302, headers={"Location": "/"}), 503),
        (web.Response(text="not json"), 503),
        (web.Response(text="[]"), 503),
        (web.Response(text='{"items": [], "next_cursor": 7}'), 503),
        (web.Response(text='{"items": [{}], "next_cursor": null}'), 503),
        (web.Response(text='{"items": [], "next_cursor": "of another version"}'), 503),
        (web.Response(text='{"items": []}'), 503),
        (web.Response(status=429, text="slower", headers={"Retry-After": "7"}), 429),
        (web.Response(status=401, text="who?", headers={"WWW-Authenticate": "Bearer"}), 401),
        (web.Response(status=403, text="no"), 403),
    ],
)
async def test_a_peer_that_does_not_answer_wholly(cluster: Cluster, answer: web.Response, status: int) -> None:
    (worker,) = await many(cluster, 1)
    async with stranger() as there:
        there.answer = answer
        del cluster.world.owners["timelines", 2]
        worker.tables.believes[2] = there.url
        reply = await worker.get("/v1/workflows")
    assert reply.status == status
    assert there.requests[0].headers[PARTITIONS_HEADER] == "2"
    if status == 429:
        assert (reply.body, reply.headers["Retry-After"]) == (b"slower", "7")


async def test_a_peer_of_a_newer_version_may_know_more_fields(cluster: Cluster) -> None:
    (worker,) = await many(cluster, 1)
    async with stranger() as there:
        item = {"tenant_id": "zz", "workflow_id": "new", "mood": "good"}
        there.answer = web.Response(body=orjson.dumps({"items": [item], "next_cursor": None}))
        del cluster.world.owners["timelines", 2]
        worker.tables.believes[2] = there.url
        assert (await worker.get("/v1/workflows?limit=1000")).json["items"][-1] == item


async def test_what_another_worker_asks_is_answered_for_its_partitions_only(cluster: Cluster) -> None:
    workers = await many(cluster, 2)
    asked = workers[1]  # owns 1 and 3
    for stated, wanted in (("1", {1}), ("3", {3}), ("3,1", {1, 3}), ("1,1", {1})):
        reply = await asked.get("/v1/workflows?limit=1000", headers={HOP: "1", PARTITIONS_HEADER: stated})
        assert {partition_of(workflow_id) for _, workflow_id in names(reply.json["items"])} == wanted
    reply = await asked.get("/v1/workflows", headers={HOP: "1", PARTITIONS_HEADER: "0,1"})
    assert reply.status == 508  # not its own, and not asked of anybody else
    for stated in ("", "one", "4", "-1", "1,", "1;2", "1" * 7, "²"):
        reply = await asked.get("/v1/workflows", headers={HOP: "1", PARTITIONS_HEADER: stated})
        assert (reply.status, reply.field) == (400, PARTITIONS_HEADER), stated
    reply = await asked.get("/v1/workflows", headers={HOP: "1"})
    assert (reply.status, reply.field) == (400, PARTITIONS_HEADER)


async def test_gathering_carries_the_token(cluster: Cluster) -> None:
    workers = await many(cluster, tokens=(TOKEN,))
    assert (await workers[0].get("/v1/workflows")).status == 401
    reply = await workers[0].get("/v1/workflows?limit=1000", headers={"Authorization": "Bearer ann's"})
    assert len(reply.json["items"]) == 60


async def test_one_deaf_peer_costs_one_timeout(cluster: Cluster) -> None:
    (worker,) = await many(cluster, 1, forward_timeout_s=0.3)
    del cluster.world.owners["timelines", 2]
    with deaf() as url:
        worker.tables.believes[2] = url
        async with asyncio.timeout(30):
            again_in(await worker.get("/v1/workflows"))
