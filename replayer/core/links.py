"""How events of a workflow hang together: chains of parents, calls of tools and their ends, and what hangs loose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from replayer.core import reading
from replayer.core.head import Head
from replayer.core.outcome import Rows
from replayer.core.page import Page, Position, checked
from replayer.core.reading import WorkflowFilter
from replayer.core.rows import (
    EVENT,
    EventRow,
    decode_event,
    decode_sightings,
    event_key,
    identity_key,
    workflow_prefix,
)
from topics.fields import rfc3339

MAX_CHAIN = 1000
"""Longest chain of parents that is followed."""

Ends = Literal["root", "missing", "cycle", "length"]


@dataclass(frozen=True, slots=True)
class Chain:
    """From the first known ancestor to the event.

    `ends`: why it goes no further back: its first event names no parent; one that is not in the workflow (`missing`:
    not yet, never, or in another one of the same thread, see `located`); one that is in the chain already; or the chain
    is longer than anybody reads.
    """

    items: list[dict[str, Any]]
    ends: Ends
    missing: str | None


def located(
    rows: Rows, event_id: str, wanted: WorkflowFilter, after: Position | None, limit: int, scan_budget: int
) -> Page:
    """The event of this id in each of these workflows that has it, by (tenant_id, workflow_id).

    Of an id with several variants the earliest. Event ids are not indexed across workflows: `wanted` names a thread.
    """

    def item(head: Head) -> dict[str, Any] | None:
        row = _earliest(rows, workflow_prefix(head.tenant_id, head.workflow_id), event_id)
        if row is None:
            return None
        (found,) = reading.described(rows, head.tenant_id, head.workflow_id, [row])
        return found

    return reading.paged(reading.looked_at(rows, wanted, after), item, limit, scan_budget)


def chain(rows: Rows, tenant_id: str, workflow_id: str, event_id: str) -> Chain | None:
    """The event and its ancestors, of an id with several variants the earliest. None: there is no such event."""
    prefix = workflow_prefix(tenant_id, workflow_id)
    found: dict[str, EventRow] = {}
    ends: Ends = "root"
    wanted: str | None = event_id
    while wanted is not None:
        if wanted in found or len(found) == MAX_CHAIN:
            ends = "cycle" if wanted in found else "length"
            break
        row = _earliest(rows, prefix, wanted)
        if row is None:
            ends = "missing"
            break
        found[wanted] = row
        wanted = orjson.loads(row.projection).get("parent_event_id")
    if not found:
        return None
    items = reading.described(rows, tenant_id, workflow_id, reversed(found.values()))
    return Chain(items, ends, wanted if ends == "missing" else None)


def _earliest(rows: Rows, prefix: bytes, event_id: str) -> EventRow | None:
    """The event of this id; of several variants the earliest."""
    value = rows.get(identity_key(prefix, event_id))
    if value is None:
        return None
    seen = min(decode_sightings(value), key=lambda one: (one.occurred_us, one.variant))
    key = event_key(prefix, seen.occurred_us, event_id, seen.variant)
    row = rows.get(key)
    return None if row is None else decode_event(prefix, key, row)


_CALLS = {
    "tool.call_started": "started",
    "tool.call_completed": "completed",
    "tool.call_failed": "failed",
    "retrieval.performed": "completed",
}


def calls(rows: Rows, tenant_id: str, workflow_id: str, after: Position | None, limit: int) -> Page:
    """Calls of tools with their ends, by (first seen, call_id): O(workflow) time, memory O(its calls).

    An end without its call and a call without its end are there too, and say so.
    """
    behind = None if after is None else checked(after, int, str)
    found: dict[str, dict[str, Any]] = {}
    firsts: dict[str, int] = {}
    for row, said in _tool_events(rows, workflow_prefix(tenant_id, workflow_id)):
        data = said["data"]
        call_id = data.get("call_id")
        if call_id is None:
            continue  # a retrieval that nobody called a tool for
        firsts.setdefault(call_id, row.occurred_us)
        call = found.setdefault(call_id, _call(call_id, said, row))
        kind = _CALLS[said["event_type"]]
        if kind == "started":
            call["attempts"] += 1
            call["started"] = call["started"] or row.event_id
        else:
            call["status"], call["ended"], call["latency_ms"] = kind, row.event_id, data.get("latency_ms")
        call["last_at"] = rfc3339(row.occurred_us)
    ordered = sorted((first, call_id) for call_id, first in firsts.items())
    chosen = [place for place in ordered if behind is None or place > behind]
    items = [found[call_id] for _, call_id in chosen[:limit]]
    for item in items:
        item["orphan"] = item["started"] is None
    return Page(items, chosen[limit - 1] if len(chosen) > limit else None)


def _call(call_id: str, said: dict[str, Any], row: EventRow) -> dict[str, Any]:
    data = said["data"]
    return {
        "call_id": call_id,
        "tool_name": data.get("tool_name") or data.get("index_name"),
        "tool_version": data.get("tool_version") or data.get("index_version"),
        "decision_id": said.get("decision_id"),
        "status": "pending",
        "attempts": 0,
        "started": None,
        "ended": None,
        "first_at": rfc3339(row.occurred_us),
        "last_at": rfc3339(row.occurred_us),
        "latency_ms": None,
    }


def _tool_events(rows: Rows, prefix: bytes) -> Iterator[tuple[EventRow, dict[str, Any]]]:
    for key, value in rows.scan(EVENT + prefix):
        row = decode_event(prefix, key, value)
        said = orjson.loads(row.projection)
        if said["event_type"] in _CALLS and said.get("data") is not None:
            yield row, said
