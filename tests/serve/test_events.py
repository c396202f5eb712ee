"""What caused an event may stand in another workflow, of another worker: the chain says where to look for it."""

from __future__ import annotations

import pytest

from tests.serve.serve_cluster import Cluster
from tests.serve.serve_data import Log, happened
from topics.families.workflow import PlanCreated, RequestReceived

TRACE = "4f" * 16


async def test_a_chain_leads_to_the_workflow_its_parent_is_in(cluster: Cluster) -> None:
    workers = await cluster.start(3)
    log = Log(cluster.world)
    thread = {"correlation_id": "k&1", "trace_id": TRACE}
    log.events(happened(RequestReceived(), f"parent-{n}", 0, event_id=f"e-{n}", **thread) for n in range(6))
    log.events([happened(PlanCreated(), "child", 1, event_id="c", parent_event_id="e-3", **thread)])
    for worker in workers:
        found = (await worker.get("/v1/workflows/child/events/c/chain?tenant=acme")).json
        assert ([item["event_id"] for item in found["items"]], found["ends"]) == (["c"], "missing")
        assert found["look_for_it"] == "/v1/events/e-3?correlation_id=k%261&tenant=acme"
        (parent,) = (await worker.get(found["look_for_it"])).json["items"]
        assert (parent["workflow_id"], parent["event_id"]) == ("parent-3", "e-3")
        root = (await worker.get(f"/v1/workflows/{parent['workflow_id']}/events/e-3/chain?tenant=acme")).json
        assert (root["ends"], root["look_for_it"]) == ("root", None)
        (same,) = (await worker.get(f"/v1/events/e-3?trace_id={TRACE}")).json["items"]
        assert same == parent
        assert (await worker.get(f"/v1/events/nobody?trace_id={TRACE}")).json == {"items": [], "next_cursor": None}


async def test_a_chain_of_no_thread_leads_nowhere(cluster: Cluster) -> None:
    (worker,) = await cluster.start()
    Log(cluster.world).events([happened(RequestReceived(), "w", 0, event_id="c", parent_event_id="gone")])
    found = (await worker.get("/v1/workflows/w/events/c/chain?tenant=acme")).json
    assert (found["missing"], found["look_for_it"]) == ("gone", None)


@pytest.mark.parametrize("query", ["", "?tenant=acme", "?limit=3"])
async def test_an_event_is_looked_for_within_threads(cluster: Cluster, query: str) -> None:
    (worker,) = await cluster.start()
    reply = await worker.get(f"/v1/events/e{query}")
    assert (reply.status, reply.field) == (400, "query")
    assert "trace_id or a correlation_id" in reply.json["detail"]
