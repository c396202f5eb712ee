"""Answering from the rows of one partition: here where this worker owns it, else through the worker that does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

from replayer.core.errors import InvalidPosition, TooBroad
from replayer.core.outcome import Rows
from replayer.core.page import Page
from replayer.serve.cursors import Position
from replayer.serve.peers import locate, was_forwarded
from replayer.serve.problems import bad_query, unavailable
from replayer.serve.site import Call

SCAN_STEP = 250
"""Rows looked at before the event loop gets its turn: views share it with the lanes."""

Read = Callable[[Rows, Position | None, int, int], Page]
"""(rows, after, limit, scan budget): one of the reads of `core.reading`."""


async def elsewhere(call: Call, table: str, key: str) -> web.Response | None:
    """The owner's answer to the same request, passed on as it came; None where this worker is the owner."""
    tables = call.site.tables
    partition = tables.partition_of(key)
    place = locate(tables, table, partition, forwarded=was_forwarded(call.request))
    if not isinstance(place, str):
        return None
    return (await call.site.peers.ask(call.request, place, [partition])).response()


def rows_here(call: Call, table: str, partition: int) -> Rows:
    """The partition's rows, to be asked for again after every await. Raises a 503 where it has left meanwhile."""
    rows = call.site.tables.rows(table, partition)
    if rows is None:
        raise unavailable(f"Partition {partition} left this worker while it was read.")
    return rows


async def paged(
    call: Call, table: str, partition: int, read: Read, after: Position | None, *, budget: int, step: int = SCAN_STEP
) -> Page:
    """The query's `limit` items, or as many as `budget` rows reach: read in steps, the event loop's turn between them.

    Raises a 503 where the partition leaves meanwhile, and a 400 where the cursor is of no list like this.
    """
    limit = call.query.limit
    items: list[dict[str, Any]] = []
    while True:
        rows = rows_here(call, table, partition)
        try:
            page = read(rows, after, min(limit - len(items), step), min(budget, step))
        except InvalidPosition:
            raise bad_query("cursor", "Not a cursor of this list: start again without it.") from None
        except TooBroad as exc:
            raise bad_query("query", str(exc)) from None
        items += page.items
        budget -= step
        if page.next is None or len(items) >= limit or budget <= 0:
            return Page(items, page.next)
        after = page.next
        await asyncio.sleep(0)
