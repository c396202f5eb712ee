"""An event by its id, in the workflows of a thread: what the chain of one workflow leads to in another."""

from __future__ import annotations

from typing import Annotated, Any, Self
from urllib.parse import quote, urlencode

from aiohttp import web
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from replayer.core import links
from replayer.core.outcome import Rows
from replayer.core.page import Page, Position
from replayer.core.reading import WorkflowFilter
from replayer.serve import answers
from replayer.serve.gathering import Listing, listed, workflow_key
from replayer.serve.ports import TIMELINES
from replayer.serve.queries import Cursor, Limit, Query
from replayer.serve.site import Call
from topics.fields import Id, TraceId


class EventsQuery(Query):
    """Which workflows are looked into: those of a trace, of a correlation, or of both."""

    trace_id: Annotated[TraceId | None, Field(description="of workflows with events of this trace")] = None
    correlation_id: Annotated[Id | None, Field(description="of workflows of this business thread")] = None
    tenant: Annotated[Id | None, Field(description="of one tenant only")] = None
    limit: Limit = 100
    cursor: Cursor | None = None

    @model_validator(mode="after")
    def _a_thread(self) -> Self:
        if self.trace_id is None and self.correlation_id is None:
            raise PydanticCustomError("thread", "name a trace_id or a correlation_id: events are found within threads")
        return self


async def events(call: Call) -> web.Response:
    query, event_id = call.query, call.ids["event_id"]
    wanted = WorkflowFilter(query.tenant, trace_id=query.trace_id, correlation_id=query.correlation_id)

    def read(rows: Rows, after: Position | None, limit: int, budget: int) -> Page:
        return links.located(rows, event_id, wanted, after, limit, budget)

    return await listed(call, Listing(TIMELINES, read, workflow_key, answers.TimelineItem))


def link(event_id: str, child: dict[str, Any]) -> str | None:
    """Where to look for the parent of an event, that is not in its workflow; None where it is of no thread."""
    for name in ("correlation_id", "trace_id"):
        if child[name] is not None:
            asked = urlencode({name: child[name], "tenant": child["tenant_id"]})
            return f"/v1/events/{quote(event_id, safe='')}?{asked}"
    return None
