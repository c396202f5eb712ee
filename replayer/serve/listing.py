"""All workflows of all workers as one ordered list: each worker reads its own partitions, one merges."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Annotated, Any

import orjson
from aiohttp import web
from pydantic import Field

from replayer.core import gaps, reading
from replayer.core.outcome import Rows
from replayer.core.reading import Page, WorkflowFilter
from replayer.serve import answers, cursors
from replayer.serve.merging import Part, merge
from replayer.serve.owner import paged, rows_here
from replayer.serve.peers import Answer, Relayed, asked_partitions, locate, was_forwarded
from replayer.serve.ports import TIMELINES
from replayer.serve.problems import Problem, unavailable
from replayer.serve.queries import Cursor, Limit, Ranged
from replayer.serve.site import Call
from topics.fields import Id, TraceId

_THE_CALLERS = (400, 401, 403, 429)  # a peer's refusals that the caller can act on


class WorkflowsQuery(Ranged):
    """Which workflows. Filters are all to hold; [from, to) is touched by any of the workflow's time."""

    tenant: Annotated[Id | None, Field(description="of one tenant only")] = None
    agent: Annotated[Id | None, Field(description="in which this agent acted")] = None
    status: Annotated[answers.WorkflowStatus | None, Field(description="in this state")] = None
    trace_id: Annotated[TraceId | None, Field(description="with an event of this trace")] = None
    correlation_id: Annotated[Id | None, Field(description="with an event of this business thread")] = None
    limit: Limit = 100
    cursor: Cursor | None = None

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
    """A page of the whole list, or (asked by another worker) of the partitions it names. Exact, or a 503."""
    query, tables = call.query, call.site.tables
    asked = cursors.question(call.operation.name, query.asked())
    after = cursors.decode(query.cursor, asked) if query.cursor else None
    count = tables.partitions(TIMELINES)
    forwarded = was_forwarded(call.request)
    here: list[int] = []
    there: dict[str, list[int]] = {}
    for partition in asked_partitions(call.request, count) if forwarded else range(count):
        place = locate(tables, TIMELINES, partition, forwarded=forwarded)
        if isinstance(place, str):
            there.setdefault(place, []).append(partition)
        else:
            here.append(partition)
    parts = [_peer_part(call, owner, partitions, asked) for owner, partitions in there.items()]
    page = merge(await _all([_own_part(call, here, after), *parts]), query.limit)
    cursor = None if page.upto is None else cursors.encode(page.upto, asked)
    # Not checked as a whole: each worker has checked its own items, and a newer one may know more fields.
    body = orjson.dumps({"items": [item for _, item in page.found], "next_cursor": cursor})
    return web.Response(body=body, content_type="application/json")


async def _all(parts: Sequence[Coroutine[Any, Any, Part]]) -> list[Part]:
    """All of them or the first failure; nothing is left running."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


async def _own_part(call: Call, partitions: Sequence[int], after: cursors.Position | None) -> Part:
    """This worker's partitions, within the scan budget of one request."""
    share = max(1, call.site.settings.list_scan_budget // max(1, len(partitions)))
    return merge([await _partition(call, number, after, share) for number in partitions], call.query.limit)


async def _partition(call: Call, partition: int, after: cursors.Position | None, budget: int) -> Part:
    wanted = call.query.filter()

    def read(rows: Rows, after: cursors.Position | None, limit: int, budget: int) -> Page:
        return reading.list_workflows(rows, wanted, after, limit, budget)

    page = await paged(call, TIMELINES, partition, read, after, budget=budget)
    lost = gaps.described(rows_here(call, TIMELINES, partition), partition)
    for item in page.items:
        item["gaps"] = lost
        answers.Workflow.model_validate(item)
    found = [((item["tenant_id"], item["workflow_id"]), item) for item in page.items]
    return Part(found, None if page.next is None else (page.next[0], page.next[1]))


async def _peer_part(call: Call, owner: str, partitions: Sequence[int], asked: bytes) -> Part:
    """What another worker holds, by the same question. Anything but a whole answer is a 503: never a shorter list."""
    answer = await call.site.peers.ask(call.request, owner, partitions)
    if answer.status in _THE_CALLERS:
        raise Relayed(answer)
    named = ", ".join(map(str, partitions))
    if answer.status != 200:
        raise unavailable(f"Partition {named} cannot be read now: its worker answered {answer.status}.")
    try:
        return _read_part(answer, asked)
    except (ValueError, KeyError, TypeError, Problem):
        raise unavailable(
            f"The worker of partition {named} answers in another form: is it of another version?"
        ) from None


def _read_part(answer: Answer, asked: bytes) -> Part:
    said = orjson.loads(answer.body)
    found = [((item["tenant_id"], item["workflow_id"]), item) for item in said["items"]]
    if said["next_cursor"] is None:
        return Part(found, None)
    tenant_id, workflow_id = cursors.decode(said["next_cursor"], asked)
    return Part(found, (tenant_id, workflow_id))
