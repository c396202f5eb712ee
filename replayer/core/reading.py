"""Reading one partition of the `timelines` table: pages of JSON-ready items, and where the next page starts.

Positions are plain tuples of what the rows are ordered by, so a page resumed after rows were added neither repeats an
item nor loses one that was there. Nothing here keeps an iterator: a call reads, answers and is done.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import orjson

from replayer.core import decisions as decision_rules
from replayer.core import head as head_rules
from replayer.core.decisions import decode_decision
from replayer.core.errors import DamagedRow
from replayer.core.head import Head, decode_head
from replayer.core.origin import Origin, origins
from replayer.core.outcome import Rows
from replayer.core.page import Page, Position, checked
from replayer.core.rows import (
    CORRELATION,
    DECISION,
    EVENT,
    FUTURE,
    HEAD,
    LATE,
    NUL,
    TRACE,
    EventRow,
    decision_key,
    decode_event,
    decode_sightings,
    event_key,
    event_start,
    head_key,
    identity_key,
    thread_prefix,
    workflow_prefix,
)
from topics.fields import rfc3339
from topics.registry import EVENT_TYPES

Order = Literal["occurred", "commit"]


@dataclass(frozen=True, slots=True)
class WorkflowFilter:
    """What all listed workflows have; None asks for nothing. [from_us, to_us): any of the workflow's time lies in it.

    A workflow whose set of agents overflowed (its head says so) is found by the kept ones only.
    """

    tenant_id: str | None = None
    agent_id: str | None = None
    status: str | None = None
    trace_id: str | None = None
    correlation_id: str | None = None
    from_us: int | None = None
    to_us: int | None = None

    @property
    def begin(self) -> bytes:
        """What the keys begin with, in front of tenant and workflow, of the fewest rows that name all wanted ones."""
        if self.trace_id is not None:
            return thread_prefix(TRACE, self.trace_id)
        return HEAD if self.correlation_id is None else thread_prefix(CORRELATION, self.correlation_id)

    @property
    def besides(self) -> bytes | None:
        """What the keys of further rows begin with that must be there, too."""
        if self.trace_id is None or self.correlation_id is None:
            return None
        return thread_prefix(CORRELATION, self.correlation_id)

    def takes(self, head: Head) -> bool:
        """All but the threads."""
        return (
            (self.tenant_id is None or head.tenant_id == self.tenant_id)
            and (self.status is None or head.status == self.status)
            and (self.agent_id is None or self.agent_id in head.agents)
            and (self.from_us is None or head.last_us >= self.from_us)
            and (self.to_us is None or head.first_us < self.to_us)
        )


def workflow(rows: Rows, tenant_id: str, workflow_id: str) -> Head | None:
    """The workflow's head (`head.described` makes JSON of it), None where the partition has no such workflow."""
    value = rows.get(head_key(tenant_id, workflow_id))
    return None if value is None else decode_head(value)


def list_workflows(
    rows: Rows, wanted: WorkflowFilter, after: Position | None, limit: int, scan_budget: int = 10_000
) -> Page:
    """Heads in the order of (tenant_id, workflow_id), at most `limit` of them, looking at `scan_budget` rows at most.

    The page is complete up to and including its `next`, a (tenant_id, workflow_id): so pages of several partitions can
    be merged up to the least of them.
    """
    return paged(looked_at(rows, wanted, after), head_rules.described, limit, scan_budget)


def paged(
    heads: Iterator[tuple[Head, bool]], item: Callable[[Head], dict[str, Any] | None], limit: int, scan_budget: int
) -> Page:
    """What is made of the heads that are wanted; an item that is None is none."""
    items: list[dict[str, Any]] = []
    reached: Position | None = None
    for seen, (head, taken) in enumerate(heads):
        if len(items) >= limit or seen >= scan_budget:
            return Page(items, reached)
        reached = (head.tenant_id, head.workflow_id)
        if taken and (found := item(head)) is not None:
            items.append(found)
    return Page(items, None)


def looked_at(rows: Rows, wanted: WorkflowFilter, after: Position | None) -> Iterator[tuple[Head, bool]]:
    """The heads that have to be looked at, in the order of (tenant_id, workflow_id), and whether each is wanted."""
    begin, besides = wanted.begin, wanted.besides
    prefix = begin if wanted.tenant_id is None else begin + wanted.tenant_id.encode() + NUL
    start = None
    if after is not None:
        tenant_id, workflow_id = checked(after, str, str)
        start = begin + head_key(tenant_id, workflow_id)[1:] + NUL  # ids hold no NUL: the first key behind it
    for key, value in rows.scan(prefix, start):
        name = key[len(begin) :]
        found = value if begin == HEAD else rows.get(HEAD + name)
        if found is None:
            raise DamagedRow("thread")
        head = decode_head(found)
        yield head, wanted.takes(head) and (besides is None or rows.get(besides + name) is not None)


def timeline(
    rows: Rows,
    tenant_id: str,
    workflow_id: str,
    order: Order = "occurred",
    from_us: int | None = None,
    to_us: int | None = None,
    family: str | None = None,
    after: Position | None = None,
    limit: int = 100,
    scan_budget: int = 10_000,
    orphans: bool = False,
) -> Page:
    """Events of a workflow, each as `item` describes it. [from_us, to_us) is of `occurred_at` in either order.

    `orphans`: only those that name a parent which is not in the workflow (yet, or at all).

    `occurred`: by (occurred_at, event_id), straight from the keys: O(page), `scan_budget` rows at most (a rare family
    may leave a page short). `commit`: by commit_ts, strictly increasing in the order of arrival, so a reader that
    comes back finds everything that was added meanwhile; O(workflow) time (the budget does not hold), memory O(limit).
    An unknown workflow has no events: ask `workflow` first.
    """
    prefix = workflow_prefix(tenant_id, workflow_id)
    part = _Part(
        start=None if from_us is None else event_start(prefix, from_us),
        end=None if to_us is None else event_start(prefix, to_us),
        family=family,
        orphans=orphans,
    )
    if order == "occurred":
        chosen, following = _by_occurred(rows, prefix, part, after, limit, scan_budget)
    else:
        chosen, following = _by_commit(rows, prefix, part, after, limit)
    return Page(_items(rows, tenant_id, workflow_id, chosen), following)


def described(rows: Rows, tenant_id: str, workflow_id: str, chosen: Iterable[EventRow]) -> list[dict[str, Any]]:
    """These events of a workflow as they are served."""
    return _items(rows, tenant_id, workflow_id, [(row, orjson.loads(row.projection)) for row in chosen])


def _items(rows: Rows, tenant_id: str, workflow_id: str, chosen: list[_Said]) -> list[dict[str, Any]]:
    prefix, head = workflow_prefix(tenant_id, workflow_id), workflow(rows, tenant_id, workflow_id)
    conflicts = _conflicting(rows, prefix, chosen) if head is not None and head.conflicts else frozenset()
    parents = _parents(rows, prefix, chosen)
    came = origins(rows, prefix, [row for row, _ in chosen])
    return [_item(row, said, at, conflicts, parents) for (row, said), at in zip(chosen, came, strict=True)]


@dataclass(frozen=True, slots=True)
class _Part:
    """Which events of a timeline are asked for: keys in [start, end), of one family or all, orphans or all."""

    start: bytes | None
    end: bytes | None
    family: str | None
    orphans: bool

    @property
    def chooses(self) -> bool:
        """Whether an event's content decides."""
        return self.family is not None or self.orphans

    def takes(self, rows: Rows, prefix: bytes, said: dict[str, Any]) -> bool:
        if self.family is not None and _family(said) != self.family:
            return False
        if not self.orphans:
            return True
        parent = said.get("parent_event_id")
        return parent is not None and rows.get(identity_key(prefix, parent)) is None


_Said = tuple[EventRow, dict[str, Any]]


def _by_occurred(
    rows: Rows, prefix: bytes, part: _Part, after: Position | None, limit: int, scan_budget: int
) -> tuple[list[_Said], Position | None]:
    start = part.start
    if after is not None:
        behind = event_key(prefix, *checked(after, int, str, bytes)) + NUL
        start = behind if start is None else max(start, behind)
    chosen: list[_Said] = []
    reached: Position | None = None
    for seen, (key, value) in enumerate(rows.scan(EVENT + prefix, start)):
        if part.end is not None and key >= part.end:
            break
        if len(chosen) >= limit or seen >= scan_budget:
            return chosen, reached
        row = decode_event(prefix, key, value)
        reached = (row.occurred_us, row.event_id, row.variant)
        said = orjson.loads(row.projection)
        if part.takes(rows, prefix, said):
            chosen.append((row, said))
    return chosen, None


def _by_commit(
    rows: Rows, prefix: bytes, part: _Part, after: Position | None, limit: int
) -> tuple[list[_Said], Position | None]:
    behind = None if after is None else checked(after, int, str, int, int, int)

    def candidates() -> Iterator[EventRow]:
        for key, value in rows.scan(EVENT + prefix, part.start):
            if part.end is not None and key >= part.end:
                return
            row = decode_event(prefix, key, value)
            if (behind is None or _committed(row) > behind) and (
                not part.chooses or part.takes(rows, prefix, orjson.loads(row.projection))
            ):
                yield row

    least = heapq.nsmallest(limit + 1, candidates(), key=_committed)
    chosen = [(row, orjson.loads(row.projection)) for row in islice(least, limit)]
    return chosen, _committed(least[limit - 1]) if len(least) > limit else None


def _committed(row: EventRow) -> Position:
    return (row.commit_us, row.topic, row.partition, row.offset, row.index)


def _family(said: dict[str, Any]) -> str | None:
    known = EVENT_TYPES.get(said["event_type"])
    return None if known is None else known.family


def _conflicting(rows: Rows, prefix: bytes, chosen: list[_Said]) -> frozenset[str]:
    """Which of the event ids stand for more than one content."""
    ids = list(dict.fromkeys(row.event_id for row, _ in chosen))
    values = rows.get_many([identity_key(prefix, event_id) for event_id in ids])
    return frozenset(
        event_id
        for event_id, value in zip(ids, values, strict=True)
        if value is not None and len(decode_sightings(value)) > 1
    )


def _parents(rows: Rows, prefix: bytes, chosen: list[_Said]) -> dict[str, int]:
    """When the parents named by these events occurred, as far as they are in the workflow: their earliest variant."""
    ids = list(dict.fromkeys(said["parent_event_id"] for _, said in chosen if "parent_event_id" in said))
    values = rows.get_many([identity_key(prefix, event_id) for event_id in ids])
    return {
        event_id: min(seen.occurred_us for seen in decode_sightings(value))
        for event_id, value in zip(ids, values, strict=True)
        if value is not None
    }


_OPTIONAL = (
    "decision_id", "parent_event_id", "correlation_id", "original_event_id", "trace_id", "span_id", "key_id"
)  # fmt: skip


def _item(
    row: EventRow, said: dict[str, Any], at: Origin, conflicts: frozenset[str], parents: dict[str, int]
) -> dict[str, Any]:
    """An event as it is served: the envelope's fields, where it stands in the log, its projected data, its marks."""
    parent_us = parents.get(said.get("parent_event_id", ""))
    return {
        "event_id": row.event_id,
        "event_type": said["event_type"],
        "schema_version": said["schema_version"],
        "family": _family(said),
        "workflow_id": said["workflow_id"],
        "tenant_id": said["tenant_id"],
        "occurred_at": rfc3339(row.occurred_us),
        "commit_ts": rfc3339(row.commit_us),
        "source": said["source"],
        "agent_id": said["agent_id"],
        **{name: said.get(name) for name in _OPTIONAL},
        "variant": row.variant.hex(),
        "position": {"topic": at.topic, "partition": at.partition, "offset": at.offset, "index": row.index},
        "data": said.get("data"),
        "marks": {
            "conflict": row.event_id in conflicts,
            "late": bool(row.marks & LATE),
            "future_version": bool(row.marks & FUTURE),
            "child_before_parent": parent_us is not None and row.occurred_us < parent_us,
        },
    }


def decisions(rows: Rows, tenant_id: str, workflow_id: str, after: Position | None = None, limit: int = 100) -> Page:
    """The workflow's decisions in the order of their ids, its own (null) first. Position: (decision_id or "",)."""
    prefix = workflow_prefix(tenant_id, workflow_id)
    start = None
    if after is not None:
        (decision_id,) = checked(after, str)
        start = decision_key(prefix, decision_id) + NUL
    found = [decode_decision(value) for _, value in islice(rows.scan(DECISION + prefix, start), limit + 1)]
    following = (found[limit - 1].decision_id,) if len(found) > limit else None
    return Page([decision_rules.described(decision) for decision in found[:limit]], following)


def decision(rows: Rows, tenant_id: str, workflow_id: str, decision_id: str | None) -> dict[str, Any] | None:
    """One decision, None where there is none of this name. `decision_id` None: the workflow's own."""
    value = rows.get(decision_key(workflow_prefix(tenant_id, workflow_id), decision_id))
    return None if value is None else decision_rules.described(decode_decision(value))
