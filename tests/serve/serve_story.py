"""One short workflow that has a bit of everything, a worker that knows it, and how its pages are read."""

from __future__ import annotations

from typing import Any

import orjson

from tests.serve.serve_cluster import Cluster, Worker
from tests.serve.serve_data import Log, happened
from topics.families.feedback import FeedbackReceived
from topics.families.model import ModelInvocationCompleted
from topics.families.policy import PolicyEvaluated
from topics.families.workflow import RequestReceived, ResponseGenerated, WorkflowCompleted
from topics.fields import PromptTemplate

INVOKED = ModelInvocationCompleted(
    provider="acme", model="m", prompt_template=PromptTemplate(template_id="t", version="1"), latency_ms=12
)


def story(workflow_id: str = "w-1", **envelope: object) -> list[Any]:
    return [
        happened(RequestReceived(text="my secret question"), workflow_id, 0, **envelope),
        happened(INVOKED, workflow_id, 1, decision_id="d-1", parent_event_id=f"{workflow_id}-0", **envelope),
        happened(PolicyEvaluated(policy_id="pii", outcome="redact"), workflow_id, 2, decision_id="d-1", **envelope),
        happened(ResponseGenerated(), workflow_id, 3, decision_id="d-2", **envelope),
        happened(FeedbackReceived(score=1.0), workflow_id, 4, decision_id="d-2", **envelope),
        happened(WorkflowCompleted(outcome="solved"), workflow_id, 5, **envelope),
    ]


async def told(cluster: Cluster, **settings: Any) -> Worker:
    (worker,) = await cluster.start(**settings)
    Log(cluster.world).events(story())
    return worker


async def all_pages(worker: Worker, path: str, cursor: str = "") -> list[list[Any]]:
    pages = []
    for _ in range(1000):
        reply = await worker.get(path + (f"&cursor={cursor}" if cursor else ""))
        assert reply.status == 200, reply
        said = orjson.loads(reply.body)
        pages.append(said["items"])
        if said["next_cursor"] is None:
            return pages
        cursor = said["next_cursor"]
    raise AssertionError("the pages never end")
