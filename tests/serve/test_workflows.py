"""One workflow through the views: head, timeline, decisions; and every way of asking wrongly."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import pytest

from replayer.core import decisions, head
from replayer.core.gaps import Gap
from replayer.serve import answers, workflows
from replayer.serve.openapi import document
from replayer.serve.ports import TIMELINES
from replayer.serve.routes import OPERATIONS
from tests.serve.serve_cluster import PARTITIONS, Cluster, no_iterator_alive
from tests.serve.serve_data import Log, happened, simulate
from tests.serve.serve_story import all_pages, story, told
from topics.families.feedback import FeedbackReceived
from topics.families.workflow import RequestReceived
from topics.registry import FAMILIES


async def test_a_workflow_at_a_glance(cluster: Cluster) -> None:
    worker = await told(cluster)
    reply = await worker.get("/v1/workflows/w-1?tenant=acme")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    assert reply.json["status"] == "completed"
    assert reply.json["events"] == 6
    assert reply.json["templates"] == ["t@1"]
    assert reply.json["first_occurred_at"] == "2025-01-31T12:00:00.000000Z"


async def test_what_expired_unread_is_told_with_every_workflow_it_may_concern(cluster: Cluster) -> None:
    worker = await told(cluster)
    partition = worker.tables.partition_of("w-1")
    for shown in (await worker.get("/v1/workflows")).json["items"]:
        assert shown["gaps"] == []
    missing = await worker.get("/v1/workflows/nobody?tenant=acme")
    assert "expired" not in missing.json["detail"]
    for number in range(PARTITIONS):
        cluster.world.rows[TIMELINES, number].write([Gap("tool-events", number, 130, 0).row()])
    lost = {"topic": "tool-events", "partition": partition, "start": partition, "end": 130}
    lost["found_at"] = "1970-01-01T00:00:00.000000Z"
    assert (await worker.get("/v1/workflows/w-1?tenant=acme")).json["gaps"] == [lost]
    listed = (await worker.get("/v1/workflows")).json["items"]
    assert [shown["gaps"] for shown in listed if shown["workflow_id"] == "w-1"] == [[lost]]
    missing = await worker.get("/v1/workflows/nobody?tenant=acme")
    assert (missing.status, "had expired before they were folded" in missing.json["detail"]) == (404, True)


async def test_a_timeline_tells_what_where_and_no_secret(cluster: Cluster) -> None:
    worker = await told(cluster)
    reply = await worker.get("/v1/workflows/w-1/timeline?tenant=acme")
    items = reply.json["items"]
    assert [item["event_id"] for item in items] == [f"w-1-{n}" for n in range(6)]
    assert reply.json["next_cursor"] is None
    assert items[1]["position"] == {
        "topic": "model-invocations",
        "partition": cluster.workers[0].tables.partition_of("w-1"),
        "offset": 0,
        "index": 0,
    }
    assert items[1]["data"]["prompt_template"] == {"template_id": "t", "version": "1"}
    assert items[1]["parent_event_id"] == "w-1-0"
    assert b"secret" not in reply.body


async def test_both_orders(cluster: Cluster) -> None:
    (worker,) = await cluster.start()
    events = story()
    Log(cluster.world).events(reversed(events))
    by_clock = (await worker.get("/v1/workflows/w-1/timeline?tenant=acme&order=occurred")).json["items"]
    by_log = (await worker.get("/v1/workflows/w-1/timeline?tenant=acme&order=commit")).json["items"]
    assert [item["event_id"] for item in by_clock] == [f"w-1-{n}" for n in range(6)]
    assert by_log == by_clock[::-1]


@pytest.mark.parametrize("order", ["occurred", "commit"])
@pytest.mark.parametrize("limit", [1, 2, 4, 6, 7])
async def test_pages_are_the_timeline(cluster: Cluster, order: str, limit: int) -> None:
    worker = await told(cluster)
    base = f"/v1/workflows/w-1/timeline?tenant=acme&order={order}"
    whole = (await worker.get(base)).json["items"]
    pages = await all_pages(worker, f"{base}&limit={limit}")
    assert [item for page in pages for item in page] == whole
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert len(pages) == -(-6 // limit)


async def test_a_range_is_half_open_and_offsets_count(cluster: Cluster) -> None:
    worker = await told(cluster)
    query = "from=2025-01-31T12:00:01Z&to=2025-01-31T14:00:03.000000%2B02:00"
    items = (await worker.get(f"/v1/workflows/w-1/timeline?tenant=acme&{query}")).json["items"]
    assert [item["event_id"] for item in items] == ["w-1-1", "w-1-2"]


@pytest.mark.parametrize("family", FAMILIES)
async def test_one_family(cluster: Cluster, family: str) -> None:
    worker = await told(cluster)
    whole = (await worker.get("/v1/workflows/w-1/timeline?tenant=acme")).json["items"]
    items = (await worker.get(f"/v1/workflows/w-1/timeline?tenant=acme&family={family}")).json["items"]
    assert items == [item for item in whole if item["family"] == family]


async def test_a_page_stops_at_the_scan_budget_and_goes_on(cluster: Cluster) -> None:
    (worker,) = await cluster.start(list_scan_budget=100)
    events = [happened(RequestReceived(), "w-1", n) for n in range(700)]
    events.append(happened(FeedbackReceived(score=0.0), "w-1", 700))
    Log(cluster.world).events(events)
    watching = asyncio.ensure_future(no_iterator_alive(cluster.world))
    pages = await all_pages(worker, "/v1/workflows/w-1/timeline?tenant=acme&family=feedback-events")
    assert not watching.done()
    watching.cancel()
    assert [item["event_id"] for page in pages for item in page] == ["w-1-700"]
    assert len(pages) == 8  # 701 rows, 100 at a time


async def test_a_long_page_gives_the_event_loop_its_turn(cluster: Cluster) -> None:
    (worker,) = await cluster.start()
    Log(cluster.world).events(happened(RequestReceived(), "w-1", n) for n in range(1000))
    rows = cluster.world.of("timelines", "w-1")
    turns: list[int] = []

    async def look() -> None:
        while True:
            turns.append(rows.seen)
            await asyncio.sleep(0)

    looking = asyncio.ensure_future(look())
    reply = await worker.get("/v1/workflows/w-1/timeline?tenant=acme&limit=1000")
    looking.cancel()
    assert len(reply.json["items"]) == 1000
    steps = [b - a for a, b in pairwise(turns) if b > a]
    assert max(steps) <= 251, steps


async def test_commit_order_of_a_huge_workflow_is_refused(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = await told(cluster)
    monkeypatch.setattr(workflows, "MAX_BY_COMMIT", 5)
    reply = await worker.get("/v1/workflows/w-1/timeline?tenant=acme&order=commit")
    assert (reply.status, reply.field) == (400, "order")
    assert (await worker.get("/v1/workflows/w-1/timeline?tenant=acme")).status == 200


def test_that_commit_order_has_a_limit_is_said_where_it_is_looked_up() -> None:
    said = document(OPERATIONS, tokens=False)["paths"]["/v1/workflows/{workflow_id}/timeline"]["get"]["parameters"]
    (order,) = [parameter for parameter in said if parameter["name"] == "order"]
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for text in (order["description"], readme):
        assert f"workflows of more than {workflows.MAX_BY_COMMIT:,} events" in " ".join(text.split())


async def test_decisions_and_one_of_them(cluster: Cluster) -> None:
    worker = await told(cluster)
    listed = (await worker.get("/v1/workflows/w-1/decisions?tenant=acme")).json
    assert [item["decision_id"] for item in listed["items"]] == [None, "d-1", "d-2"]
    assert listed["next_cursor"] is None
    assert (await worker.get("/v1/workflows/w-1/decisions/d-1?tenant=acme")).json == listed["items"][1]
    pages = await all_pages(worker, "/v1/workflows/w-1/decisions?tenant=acme&limit=2")
    assert [len(page) for page in pages] == [2, 1]
    assert [item for page in pages for item in page] == listed["items"]


async def test_the_same_id_in_two_tenants_is_two_workflows(cluster: Cluster) -> None:
    (worker,) = await cluster.start()
    log = Log(cluster.world)
    log.events(story("w-1"))
    log.events([happened(RequestReceived(), "w-1", 9, tenant_id="globex", event_id="other")])
    assert (await worker.get("/v1/workflows/w-1?tenant=acme")).json["events"] == 6
    assert (await worker.get("/v1/workflows/w-1?tenant=globex")).json["events"] == 1
    assert (await worker.get("/v1/workflows/w-1?tenant=initech")).status == 404
    reply = await worker.get("/v1/workflows/w-1")
    assert (reply.status, reply.field) == (400, "tenant")


async def test_a_default_tenant_must_be_configured(cluster: Cluster) -> None:
    worker = await told(cluster, default_tenant="acme")
    assert (await worker.get("/v1/workflows/w-1")).json["tenant_id"] == "acme"
    assert (await worker.get("/v1/workflows/w-1?tenant=globex")).status == 404
    cursor = (await worker.get("/v1/workflows/w-1/timeline?limit=2")).json["next_cursor"]
    assert (await worker.get(f"/v1/workflows/w-1/timeline?tenant=acme&cursor={cursor}")).status == 200


@pytest.mark.parametrize("workflow_id", ["a/b", "a b", "ü😀", "{x}", "100%", "%2F", "?&=#", "a\nb", "..", "+", "'\"<>"])
async def test_any_id_can_be_asked_for(cluster: Cluster, workflow_id: str) -> None:
    (worker,) = await cluster.start()
    Log(cluster.world).events(story(workflow_id, tenant_id="acme & söhne"))
    path = f"/v1/workflows/{quote(workflow_id, safe='').replace('.', '%2E')}"
    for rest in ("", "/timeline", "/decisions", "/decisions/d-1"):
        reply = await worker.get(f"{path}{rest}?tenant={quote('acme & söhne')}")
        assert reply.status == 200, (rest, reply)
    assert (await worker.get(f"{path}?tenant={quote('acme & söhne')}")).json["workflow_id"] == workflow_id


async def test_rows_of_another_version_are_a_500_that_the_log_explains(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = await told(cluster)
    rows = cluster.world.of("timelines", "w-1")
    for key in list(rows.values):
        rows.values[key] = b"\xff" + rows.values[key][1:]
    reply = await worker.get("/v1/workflows/w-1?tenant=acme")
    assert (reply.status, reply.field) == (500, None)
    assert "has format 255" in "".join(capsys.readouterr())


@pytest.mark.parametrize("path", ["/v1/workflows/w-1?tenant=acme", "/v1/workflows?tenant=acme"])
async def test_what_is_not_described_is_not_served(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    worker = await told(cluster)
    describe = head.described
    monkeypatch.setattr(head, "described", lambda known: {**describe(known), "mood": "good"})
    reply = await worker.get(path)
    assert (reply.status, reply.field) == (500, None)
    assert b"good" not in reply.body


def test_the_documented_values_are_the_cores() -> None:
    assert answers.WorkflowStatus.__args__ == head.STATUSES
    stated = {decisions.OPEN, decisions.ANSWERED, decisions.OVERRIDDEN, decisions.COMPLETED, decisions.FAILED}
    assert set(answers.DecisionStatus.__args__) == stated
    assert workflows.Family.__args__ == FAMILIES


async def test_simulated_workflows_all_answer(cluster: Cluster) -> None:
    """All families and shapes the product knows fit the documented answers: otherwise these were 500."""
    (worker,) = await cluster.start()
    simulate(cluster.world)
    seen: set[str] = set()
    for item in (await worker.get("/v1/workflows?limit=1000")).json["items"]:
        base, query = f"/v1/workflows/{quote(item['workflow_id'])}", f"?tenant={item['tenant_id']}&limit=1000"
        events = (await worker.get(f"{base}/timeline{query}")).json["items"]
        assert len(events) == item["events"]
        seen |= {event["event_type"] for event in events}
        assert (await worker.get(f"{base}/decisions{query}")).status == 200
    assert {kind.split(".")[0] for kind in seen} >= {"workflow", "model", "tool", "policy", "feedback"}
