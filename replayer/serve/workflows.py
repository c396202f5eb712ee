"""One workflow: its head, its timeline, its decisions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field

from replayer.core import gaps, head, links, reading
from replayer.core.outcome import Rows
from replayer.core.page import Page
from replayer.serve import cursors
from replayer.serve.events import link
from replayer.serve.owner import SCAN_STEP, Read, elsewhere, paged, rows_here
from replayer.serve.ports import TIMELINES
from replayer.serve.problems import bad_query, not_found
from replayer.serve.queries import Cursor, Limit, Query, Ranged, Tenant
from replayer.serve.site import Call, answer

MAX_BY_COMMIT = 100_000
"""Events a workflow may have to be served by commit time: that order has no index, so it is one look at all of them."""

_UNLESS_LOST = ", or all of its events had expired before they were folded: its partition has gaps (see /metrics)"

Family = Literal[
    "workflow-events", "model-invocations", "tool-events", "policy-events", "feedback-events", "stage-events"
]


class OfTenant(Query):
    """Which of the workflows with this id."""

    tenant: Tenant | None = None


class DecisionsQuery(OfTenant):
    """A page of decisions."""

    limit: Limit = 100
    cursor: Cursor | None = None


class TimelineQuery(OfTenant, Ranged):
    """A page of events; `from` and `to` are of occurred_at, in either order."""

    order: Annotated[
        Literal["occurred", "commit"],
        Field(
            description="by the producer's clock or by the log's; commit is a 400 "
            f"for workflows of more than {MAX_BY_COMMIT:,} events"
        ),
    ] = "occurred"
    family: Annotated[Family | None, Field(description="events of one family only")] = None
    orphans: Annotated[
        Literal["only"] | None, Field(description="only: events whose parent is not in the workflow, yet or at all")
    ] = None
    limit: Limit = 100
    cursor: Cursor | None = None


async def workflow(call: Call) -> web.Response:
    tenant = _tenant(call)
    if (relayed := await elsewhere(call, TIMELINES, call.ids["workflow_id"])) is not None:
        return relayed
    found = head.described(_head(call, tenant))
    return answer(call, found | {"gaps": gaps.described(_rows(call), _partition(call))})


async def timeline(call: Call) -> web.Response:
    tenant, query, workflow_id = _tenant(call), call.query, call.ids["workflow_id"]
    asked = _asked(call, tenant)
    after = cursors.decode(query.cursor, asked) if query.cursor else None
    if (relayed := await elsewhere(call, TIMELINES, workflow_id)) is not None:
        return relayed
    if _head(call, tenant).events > MAX_BY_COMMIT and query.order == "commit":
        raise bad_query("order", f"Workflows of more than {MAX_BY_COMMIT} events are served by order=occurred only.")

    def read(rows: Rows, after: cursors.Position | None, limit: int, budget: int) -> Page:
        return reading.timeline(
            rows, tenant, workflow_id, query.order, query.from_us, query.to_us, query.family, after, limit, budget,
            orphans=query.orphans is not None,
        )  # fmt: skip

    # By commit time every step looks at the whole workflow: one step only.
    step = query.limit if query.order == "commit" else SCAN_STEP
    return answer(call, await _page(call, read, after, asked, step))


async def chain(call: Call) -> web.Response:
    tenant, workflow_id = _tenant(call), call.ids["workflow_id"]
    if (relayed := await elsewhere(call, TIMELINES, workflow_id)) is not None:
        return relayed
    _head(call, tenant)
    found = links.chain(_rows(call), tenant, workflow_id, call.ids["event_id"])
    if found is None:
        raise not_found("The workflow has no such event; /timeline lists those it has.")
    where = None if found.missing is None else link(found.missing, found.items[0])
    return answer(call, {"items": found.items, "ends": found.ends, "missing": found.missing, "look_for_it": where})


async def calls(call: Call) -> web.Response:
    tenant, query, workflow_id = _tenant(call), call.query, call.ids["workflow_id"]
    asked = _asked(call, tenant)
    after = cursors.decode(query.cursor, asked) if query.cursor else None
    if (relayed := await elsewhere(call, TIMELINES, workflow_id)) is not None:
        return relayed
    if _head(call, tenant).events > MAX_BY_COMMIT:
        raise bad_query("workflow_id", f"Calls are told of workflows of at most {MAX_BY_COMMIT} events; see /timeline.")

    def read(rows: Rows, after: cursors.Position | None, limit: int, budget: int) -> Page:
        return links.calls(rows, tenant, workflow_id, after, limit)

    # Every step looks at the whole workflow: one step only.
    return answer(call, await _page(call, read, after, asked, query.limit))


async def decisions(call: Call) -> web.Response:
    tenant, query, workflow_id = _tenant(call), call.query, call.ids["workflow_id"]
    asked = _asked(call, tenant)
    after = cursors.decode(query.cursor, asked) if query.cursor else None
    if (relayed := await elsewhere(call, TIMELINES, workflow_id)) is not None:
        return relayed
    _head(call, tenant)

    def read(rows: Rows, after: cursors.Position | None, limit: int, budget: int) -> Page:
        return reading.decisions(rows, tenant, workflow_id, after, min(limit, budget))

    return answer(call, await _page(call, read, after, asked, SCAN_STEP))


async def decision(call: Call) -> web.Response:
    tenant, workflow_id = _tenant(call), call.ids["workflow_id"]
    if (relayed := await elsewhere(call, TIMELINES, workflow_id)) is not None:
        return relayed
    _head(call, tenant)
    found = reading.decision(_rows(call), tenant, workflow_id, call.ids["decision_id"])
    if found is None:
        raise not_found("The workflow has no such decision; /decisions lists those it has.")
    return answer(call, found)


def _tenant(call: Call) -> str:
    tenant = call.query.tenant or call.site.settings.default_tenant
    if tenant is None:
        raise bad_query("tenant", "Name the tenant: the same workflow id in two tenants is two workflows.")
    return str(tenant)


def _asked(call: Call, tenant: str) -> bytes:
    return cursors.question(call.operation.name, {**call.query.asked(), **call.ids, "tenant": tenant})


def _partition(call: Call) -> int:
    return call.site.tables.partition_of(call.ids["workflow_id"])


def _rows(call: Call) -> Rows:
    return rows_here(call, TIMELINES, _partition(call))


def _head(call: Call, tenant: str) -> head.Head:
    found = reading.workflow(_rows(call), tenant, call.ids["workflow_id"])
    if found is None:
        lost = gaps.described(_rows(call), _partition(call))
        raise not_found(f"The tenant has no such workflow{_UNLESS_LOST if lost else ''}.")
    return found


async def _page(call: Call, read: Read, after: cursors.Position | None, asked: bytes, step: int) -> dict[str, Any]:
    budget = call.site.settings.list_scan_budget
    page = await paged(call, TIMELINES, _partition(call), read, after, budget=budget, step=step)
    return {"items": page.items, "next_cursor": None if page.next is None else cursors.encode(page.next, asked)}
