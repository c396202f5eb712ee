"""What policies said, without a field for what it was about."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from replayer.core import lookup
from replayer.core.outcome import Rows
from replayer.core.page import Page, Position
from replayer.core.shelf import POLICY, Shelf
from replayer.core.shelf_head import ShelfHead
from replayer.serve import index_answers, shelves
from replayer.serve.gathering import Listing, listed
from replayer.serve.ports import TEMPLATES
from replayer.serve.queries import OfATime
from replayer.serve.shelves import head_of
from replayer.serve.site import Call
from topics.families.policy import PolicyOutcome
from topics.fields import Code, Id, micros, rfc3339

_NO_POLICY = "No such policy was evaluated."


class OutcomesQuery(OfATime):
    """Which evaluations."""

    outcome: Annotated[PolicyOutcome | None, Field(description="with this outcome only")] = None
    version: Annotated[Code | None, Field(description="of the policy in this version only")] = None
    rule: Annotated[Id | None, Field(description="by this rule only")] = None


async def policy(call: Call) -> web.Response:
    named = {"policy_id": call.ids["policy_id"]}

    def item(version: str, found: list[tuple[Shelf, ShelfHead]]) -> dict[str, Any]:
        head = head_of(found)
        return {
            "version": version or None,
            "evaluations": head.uses,
            "first_at": rfc3339(head.first_us),
            "last_at": rfc3339(head.last_us),
            "tenants": list(head.tenants),
            "outcomes": dict(sorted(head.outcomes.items())),
            "rules": {rule: dict(sorted(outcomes.items())) for rule, outcomes in sorted(head.rules.items())},
            "overflow": list(head.overflow),
        }

    return await shelves.page(call, POLICY, call.ids["policy_id"], item, named, _NO_POLICY)


async def outcomes(call: Call) -> web.Response:
    query, policy_id = call.query, call.ids["policy_id"]

    def read(rows: Rows, after: Position | None, limit: int, budget: int) -> Page:
        return lookup.list_evaluations(
            rows, policy_id, query.version, query.outcome, query.rule, query.stretch, after, limit, budget
        )

    return await listed(call, Listing(TEMPLATES, read, _key, index_answers.Evaluation))


def _key(item: dict[str, Any]) -> tuple[int, str, str, str, str, bytes, str, str]:
    return (
        micros(datetime.fromisoformat(item["occurred_at"])),
        item["tenant_id"],
        item["workflow_id"],
        item["decision_id"] or "",
        item["event_id"],
        bytes.fromhex(item["variant"]),
        item["policy_version"] or "",
        item["outcome"],
    )
