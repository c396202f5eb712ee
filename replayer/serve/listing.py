"""All workflows of all workers as one ordered list."""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from replayer.core import gaps, reading
from replayer.core.outcome import Rows
from replayer.core.page import Page, Position
from replayer.core.reading import WorkflowFilter
from replayer.serve import answers
from replayer.serve.gathering import Listing, listed, workflow_key
from replayer.serve.owner import rows_here
from replayer.serve.ports import TIMELINES
from replayer.serve.queries import OfATime
from replayer.serve.site import Call
from topics.fields import Id, TraceId


class WorkflowsQuery(OfATime):
    """Which workflows. Filters are all to hold; [from, to) is touched by any of the workflow's time."""

    agent: Annotated[Id | None, Field(description="in which this agent acted")] = None
    status: Annotated[answers.WorkflowStatus | None, Field(description="in this state")] = None
    trace_id: Annotated[TraceId | None, Field(description="with an event of this trace")] = None
    correlation_id: Annotated[Id | None, Field(description="with an event of this business thread")] = None

    def filter(self) -> WorkflowFilter:
        return WorkflowFilter(
            tenant_id=self.tenant,
            agent_id=self.agent,
            status=self.status,
            trace_id=self.trace_id,
            correlation_id=self.correlation_id,
            from_us=self.from_us,
            to_us=self.to_us,
        )


async def workflows(call: Call) -> web.Response:
    wanted = call.query.filter()

    def read(rows: Rows, after: Position | None, limit: int, budget: int) -> Page:
        return reading.list_workflows(rows, wanted, after, limit, budget)

    def with_gaps(partition: int, items: list[dict[str, Any]]) -> None:
        lost = gaps.described(rows_here(call, TIMELINES, partition), partition)
        for item in items:
            item["gaps"] = lost

    return await listed(call, Listing(TIMELINES, read, workflow_key, answers.Workflow, with_gaps))
