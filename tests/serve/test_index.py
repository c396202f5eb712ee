"""The views over the index: exact over all partitions and workers, in order of time, without a word of content."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from replayer.core import lookup
from replayer.core.lookup import shelves
from replayer.core.shelf import TEMPLATE
from tests.serve.serve_cluster import Cluster, Worker, no_iterator_alive
from tests.serve.serve_data import NOON, Log, happened, simulate
from tests.serve.serve_peers import deaf
from tests.serve.serve_story import all_pages
from topics.families.feedback import FeedbackReceived
from topics.families.model import ModelInvocationCompleted, ModelInvocationFailed
from topics.families.policy import PolicyEvaluated
from topics.families.tool import RetrievalPerformed, RetrievedDocument, ToolCallCompleted
from topics.families.workflow import HumanOverride
from topics.fields import PromptTemplate

CANARY = "canary-4711"


def invoked(template_id: str = "t", version: str = "1", **more: Any) -> ModelInvocationCompleted:
    template = PromptTemplate(template_id=template_id, version=version)
    return ModelInvocationCompleted(provider="acme", model="m", prompt_template=template, **more)


async def many(cluster: Cluster, workers: int = 3) -> list[Worker]:
    started = await cluster.start(workers)
    simulate(cluster.world)
    return started


async def in_use(worker: Worker) -> tuple[str, str]:
    """A template and a version that many have used."""
    (first, *_) = (await worker.get("/v1/templates?limit=1000")).json["items"]
    return first["template_id"], first["versions"][0]


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("limit", [1, 2, 1000])
async def test_templates_and_their_versions_are_the_same_from_all_workers_in_pages_of_any_size(
    cluster: Cluster, workers: int, limit: int
) -> None:
    started = await many(cluster, workers)
    wholes = [(await worker.get("/v1/templates?limit=1000")).json for worker in started]
    assert all(whole == wholes[0] for whole in wholes)
    items = wholes[0]["items"]
    assert items
    pages = await all_pages(started[-1], f"/v1/templates?limit={limit}")
    assert [item for page in pages for item in page] == items
    for item in items:
        path = f"/v1/templates/{item['template_id']}"
        versions = [one for page in await all_pages(started[0], f"{path}?limit={limit}") for one in page]
        assert [one["version"] for one in versions] == item["versions"]
        assert sum(one["uses"] for one in versions) == item["uses"]
        for one in versions:
            assert (await started[-1].get(f"{path}/versions/{one['version']}")).json == one


@pytest.mark.parametrize("limit", [1, 3, 50])
async def test_decisions_are_merged_in_the_order_of_time(cluster: Cluster, limit: int) -> None:
    workers = await many(cluster)
    template_id, version = await in_use(workers[0])
    path = f"/v1/templates/{template_id}/versions/{version}"
    said = (await workers[1].get(path)).json
    watched = asyncio.ensure_future(no_iterator_alive(cluster.world))
    pages = await all_pages(workers[2], f"{path}/decisions?limit={limit}")
    assert not watched.done()
    watched.cancel()
    listed = [item for page in pages for item in page]
    assert len(listed) == said["decisions"] > 3
    assert len({(one["tenant_id"], one["workflow_id"], one["decision_id"]) for one in listed}) == len(listed)
    times = [item["first_used_at"] for item in listed]
    assert times == sorted(times)
    assert said["first_used_at"] == times[0]
    assert sum(item["uses"] for item in listed) == said["uses"]
    assert Counter(outcome for one in listed for outcome in one["policy_outcomes"]) == said["policy_outcomes"]
    for outcome in said["policy_outcomes"]:
        of_it = await all_pages(workers[0], f"{path}/decisions?outcome={outcome}&limit={limit}")
        assert [one for page in of_it for one in page] == [one for one in listed if outcome in one["policy_outcomes"]]
    middle = times[len(times) // 2]
    later = await all_pages(workers[0], f"{path}/decisions?from={middle}&limit={limit}")
    assert [one for page in later for one in page] == [one for one in listed if one["first_used_at"] >= middle]
    tenant = listed[0]["tenant_id"]
    theirs = await all_pages(workers[0], f"{path}/decisions?tenant={tenant}&limit={limit}")
    assert [one for page in theirs for one in page] == [one for one in listed if one["tenant_id"] == tenant]


async def test_a_cursor_stays_where_it_was_while_decisions_are_added(cluster: Cluster) -> None:
    (worker,) = await cluster.start()
    log = Log(cluster.world)
    log.events(happened(invoked(), f"w-{n}", n, decision_id="d") for n in (2, 4, 6))
    path = "/v1/templates/t/versions/1/decisions?limit=2"
    first = (await worker.get(path)).json
    log.events(happened(invoked(), f"w-{n}", n, decision_id="d") for n in (1, 5, 7))
    second = (await worker.get(f"{path}&cursor={first['next_cursor']}")).json
    assert [item["workflow_id"] for item in (*first["items"], *second["items"])] == ["w-2", "w-4", "w-5", "w-6"]
    wrong = await worker.get(f"/v1/templates/t/versions/2/decisions?limit=2&cursor={first['next_cursor']}")
    assert (wrong.status, wrong.field) == (400, "cursor")


async def test_two_versions_side_by_side(cluster: Cluster) -> None:
    workers = await cluster.start(2)
    log = Log(cluster.world)
    for n in range(4):
        version, name = ("1", "2")[n % 2], f"w-{n}"
        log.events(
            [
                happened(invoked(version=version, latency_ms=10 * (n + 1)), name, 0, decision_id="d"),
                happened(
                    PolicyEvaluated(policy_id="p", outcome="deny" if n == 1 else "allow"), name, 1, decision_id="d"
                ),
            ]
        )
    log.events([happened(HumanOverride(action="replace"), "w-3", 2, decision_id="d")])
    log.events([happened(FeedbackReceived(score=0.5), "w-0", 3, decision_id="d")])
    failed = ModelInvocationFailed(
        provider="acme", model="m", error_class="E", prompt_template=PromptTemplate(template_id="t", version="2")
    )
    log.events([happened(failed, "w-1", 4, decision_id="d")])
    said = (await workers[1].get("/v1/templates/t/compare?a=1&b=2")).json
    assert said == {
        "template_id": "t",
        "a": {
            "version": "1", "uses": 2, "decisions": 2, "workflows": 2, "failed": 0.0,
            "policy_outcomes": {"allow": 1.0}, "overridden": 0.0, "with_feedback": 0.5, "mean_score": 0.5,
            "latency_ms": {"p50": 10, "p95": 31},
        },
        "b": {
            "version": "2", "uses": 3, "decisions": 2, "workflows": 2, "failed": 1 / 3,
            "policy_outcomes": {"allow": 0.5, "deny": 0.5}, "overridden": 0.5, "with_feedback": 0.0,
            "mean_score": None, "latency_ms": {"p50": 21, "p95": 43},
        },
    }  # fmt: skip
    same = (await workers[0].get("/v1/templates/t/compare?a=1&b=1")).json
    assert same["a"] == same["b"] == said["a"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/templates/none",
        "/v1/templates/t/versions/none",
        "/v1/templates/t/compare?a=1&b=none",
        "/v1/policies/none",
    ],
)
async def test_what_nobody_used_is_not_found(cluster: Cluster, path: str) -> None:
    for worker in await cluster.start(2):
        Log(cluster.world).events([happened(invoked(), "w")])
        assert (await worker.get(path)).status == 404


async def test_lists_of_what_nobody_used_are_empty(cluster: Cluster) -> None:
    (worker,) = await cluster.start()
    for path in (
        "/v1/templates",
        "/v1/templates/t/versions/1/decisions",
        "/v1/policies/p/outcomes",
        "/v1/decisions?tool=x",
    ):
        assert (await worker.get(path)).json == {"items": [], "next_cursor": None}


async def test_what_a_policy_said(cluster: Cluster) -> None:
    workers = await cluster.start(3)
    told = [("allow", "r1", "1"), ("deny", "r1", "1"), ("deny", "r2", "2"), ("redact", None, None)]
    Log(cluster.world).events(
        happened(
            PolicyEvaluated(
                policy_id="pii", outcome=outcome, rule_id=rule, policy_version=version, reason_code="r",
                enforced_action="none", explanation=CANARY,
            ),
            f"w-{number}", number,
        )
        for number, (outcome, rule, version) in enumerate(told)
    )  # fmt: skip
    said = (await workers[2].get("/v1/policies/pii")).json
    assert [(one["version"], one["evaluations"], one["outcomes"]) for one in said["items"]] == [
        (None, 1, {"redact": 1}),
        ("1", 2, {"allow": 1, "deny": 1}),
        ("2", 1, {"deny": 1}),
    ]
    assert said["items"][1]["rules"] == {"r1": {"allow": 1, "deny": 1}}
    for query, expected in (
        ("", [0, 1, 2, 3]), ("outcome=deny", [1, 2]), ("version=1", [0, 1]), ("rule=r1&outcome=deny", [1]),
        (f"from={_at(1)}&to={_at(3)}", [1, 2]), ("tenant=other", []),
    ):  # fmt: skip
        pages = await all_pages(workers[1], f"/v1/policies/pii/outcomes?limit=1&{query}")
        found = [item for page in pages for item in page]
        assert [int(item["workflow_id"][2:]) for item in found] == expected, query
        assert CANARY not in str(pages)


def _at(second: int) -> str:
    return (NOON + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_what_a_tool_a_model_a_document_and_an_index_touched(cluster: Cluster) -> None:
    workers = await cluster.start(2)
    documents = (RetrievedDocument(document_id="doc", version="7"), RetrievedDocument(document_id="other"))
    found = RetrievalPerformed(index_name="kb", index_version="v3", documents=documents, query_text=CANARY)
    Log(cluster.world).events(
        [
            happened(ToolCallCompleted(call_id="c", tool_name="crm", tool_version="2", result=CANARY), "w-1", 1),
            happened(ToolCallCompleted(call_id="c", tool_name="crm"), "w-2", 2),
            happened(found, "w-3", 3, decision_id="d"),
            happened(invoked(model_version="x"), "w-4", 4),
        ]
    )
    for query, expected in {
        "tool=crm": ["w-1", "w-2"],
        "tool=crm&tool_version=2": ["w-1"],
        "model=acme/m": ["w-4"],
        "model=m": ["w-4"],
        "model=acme": [],
        "model_version=x": ["w-4"],
        "tool_version=2": ["w-1"],
        "model=acme/m&model_version=x": ["w-4"],
        "model=acme/m&model_version=y": [],
        "document_id=doc": ["w-3"],
        "document_id=doc&document_version=7": ["w-3"],
        "document_id=other": ["w-3"],
        "index=kb": ["w-3"],
        "index_version=v3": ["w-3"],
        "index=kb&index_version=v3": ["w-3"],
    }.items():
        for worker in workers:
            pages = await all_pages(worker, f"/v1/decisions?limit=1&{query}")
            assert [item["workflow_id"] for page in pages for item in page] == expected, query
            assert CANARY not in str(pages)


@pytest.mark.parametrize("query", ["", "tool=a&model=b/c", "tool=a&model_version=1", "limit=5"])
async def test_one_thing_is_asked_for_at_a_time(cluster: Cluster, query: str) -> None:
    (worker,) = await cluster.start()
    reply = await worker.get(f"/v1/decisions?{query}")
    assert (reply.status, reply.field) == (400, "query")
    assert "tool, model, document_id" in reply.json["detail"]


async def test_what_would_look_at_too_much_is_refused_by_any_worker(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = await cluster.start(2)
    Log(cluster.world).events(happened(invoked(model_version="x"), f"w-{n}", n) for n in range(20))
    monkeypatch.setattr(lookup, "MAX_LOOKED", 2)
    for worker in workers:
        reply = await worker.get("/v1/decisions?model_version=x")
        assert (reply.status, reply.field) == (400, "query")
        assert "name one" in reply.json["detail"]
        reply = await worker.get("/v1/decisions?document_version=1")
        assert (reply.status, reply.field) == (400, "query")
        assert "document_id" in reply.json["detail"]


async def test_a_template_that_was_only_spoken_of_is_no_template(cluster: Cluster) -> None:
    (worker,) = await cluster.start()
    Log(cluster.world).events(
        [
            happened(invoked(template_id="a@b"), "w", 0, decision_id="d"),
            happened(FeedbackReceived(score=0.5), "w", 1, decision_id="d"),
        ]
    )
    assert [item["template_id"] for item in (await worker.get("/v1/templates")).json["items"]] == ["a@b"]
    for path in ("/v1/templates/a", "/v1/templates/a/versions/b@1", "/v1/templates/a/compare?a=b@1&b=b@1"):
        assert (await worker.get(path)).status == 404, path


@pytest.mark.parametrize("path", ["/v1/templates", "/v1/templates/t", "/v1/templates/t/versions/1/decisions"])
async def test_where_a_worker_does_not_answer_there_is_no_shorter_answer(cluster: Cluster, path: str) -> None:
    workers = await cluster.start(2, forward_timeout_s=1.0)
    Log(cluster.world).events([happened(invoked(), "w")])
    with deaf() as url:
        for place, owner in list(cluster.world.owners.items()):
            if owner == workers[1].url:
                cluster.world.owners[place] = url
        assert (await workers[0].get(path)).status == 503


async def test_the_heads_that_workers_tell_each_other_are_the_rows(cluster: Cluster) -> None:
    workers = await many(cluster, 2)
    template_id, version = await in_use(workers[0])
    rows = [cluster.world.rows["templates", number] for number in range(4)]
    uses = sum(head.uses for one in rows for _, _, head in shelves(one, TEMPLATE, template_id, version))
    assert (await workers[1].get(f"/v1/templates/{template_id}/versions/{version}")).json["uses"] == uses > 0
