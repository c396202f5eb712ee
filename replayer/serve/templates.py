"""Prompt templates: which there are, what became of the decisions that used them, which those are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from replayer.core import lookup
from replayer.core.outcome import Rows
from replayer.core.page import Page, Position
from replayer.core.shelf import TEMPLATE, Shelf
from replayer.core.shelf_head import ShelfHead, compared, described, described_template
from replayer.serve import index_answers, shelves
from replayer.serve.gathering import Listing, listed
from replayer.serve.ports import TEMPLATES
from replayer.serve.problems import not_found
from replayer.serve.queries import Cursor, Limit, OfATime, Query
from replayer.serve.shelves import head_of
from replayer.serve.site import Call, answer
from topics.families.policy import PolicyOutcome
from topics.fields import Code, micros

MAX_VERSIONS = 100  # named with a template

_NO_TEMPLATE = "No decision has used such a template; /v1/templates lists those that were used."
_NO_VERSION = (
    "No decision has used the template in this version; /v1/templates/{template_id} lists those that were used."
)

_Heads = list[tuple[Shelf, ShelfHead]]


class ThingsQuery(Query):
    """A page of what was used."""

    limit: Limit = 100
    cursor: Cursor | None = None


class CompareQuery(Query):
    """Two versions of a template."""

    a: Annotated[Code, Field(description="one version")]
    b: Annotated[Code, Field(description="the other")]


class UsedByQuery(OfATime):
    """Which decisions; [from, to) is of their first use."""

    outcome: Annotated[PolicyOutcome | None, Field(description="for which a policy said so")] = None


async def templates(call: Call) -> web.Response:
    def item(template_id: str, found: _Heads) -> dict[str, Any]:
        versions, head = list(dict.fromkeys(shelf.version for shelf, _ in found)), head_of(found)
        return {
            "template_id": template_id,
            "versions": versions[:MAX_VERSIONS],
            "version_count": len(versions),
            "uses": head.uses,
            **described(head),
        }

    return await shelves.page(call, TEMPLATE, None, item, {})


async def template(call: Call) -> web.Response:
    named = {"template_id": call.ids["template_id"]}

    def item(version: str, found: _Heads) -> dict[str, Any]:
        return {**named, "version": version, **described_template(head_of(found))}

    return await shelves.page(call, TEMPLATE, call.ids["template_id"], item, named, _NO_TEMPLATE)


async def version(call: Call) -> web.Response:
    found = await _heads(call, call.ids["version"])
    if isinstance(found, web.Response):
        return found
    return answer(call, {**call.ids, **described_template(found[call.ids["version"]])})


async def compare(call: Call) -> web.Response:
    a, b = call.query.a, call.query.b
    found = await _heads(call, a, b)
    if isinstance(found, web.Response):
        return found
    sides = {name: {"version": of, **compared(found[of])} for name, of in (("a", a), ("b", b))}
    return answer(call, {"template_id": call.ids["template_id"], **sides})


async def _heads(call: Call, *versions: str) -> dict[str, ShelfHead] | web.Response:
    """What these versions come to; a 404 where one was never used."""
    template_id = call.ids["template_id"]

    async def read(rows: Callable[[], Rows]) -> shelves.Part:
        return [
            (key, head)
            for of in dict.fromkeys(versions)
            for key, _, head in lookup.shelves(rows(), TEMPLATE, template_id, of)
            if head.uses
        ], None

    gathered = await shelves.gather(call, read)
    if isinstance(gathered, web.Response):
        return gathered
    found = {name: head_of(heads) for name, heads in gathered.grouped(lambda shelf: shelf.version)}
    if not found.keys() >= set(versions):
        raise not_found(_NO_VERSION)
    return found


async def decisions(call: Call) -> web.Response:
    query, template_id, of = call.query, call.ids["template_id"], call.ids["version"]

    def read(rows: Rows, after: Position | None, limit: int, budget: int) -> Page:
        return lookup.list_decisions(
            rows, TEMPLATE, template_id, of, query.outcome, query.stretch, after, limit, budget
        )

    return await listed(call, Listing(TEMPLATES, read, decision_key, index_answers.TemplateDecision))


def decision_key(item: dict[str, Any]) -> tuple[int, str, str, str, str, str]:
    """Where a decision stands in a list by time."""
    at, name = micros(datetime.fromisoformat(item["first_used_at"])), item.get("template_id") or item["name"]
    return at, item["tenant_id"], item["workflow_id"], item["decision_id"] or "", name, item["version"] or ""
