"""Lists over all partitions of a table: each worker reads its own, the one that was asked merges. Exact, or a 503."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel

from replayer.serve import cursors
from replayer.serve.cursors import Position
from replayer.serve.merging import Key, Part, merge
from replayer.serve.owner import Read, paged
from replayer.serve.peers import Answer, Relayed, asked_partitions, locate, was_forwarded
from replayer.serve.problems import Problem, unavailable
from replayer.serve.site import Call

_THE_CALLERS = (400, 401, 403, 429)  # a peer's refusals that the caller can act on

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listing:
    """A list over a table: how a partition is read, where an item stands in the whole, what an item is.

    `finish(partition, items)` completes what was read of a partition before it is checked and goes out.
    """

    table: str
    read: Read
    key: Callable[[dict[str, Any]], Key]
    item: type[BaseModel]
    finish: Callable[[int, list[dict[str, Any]]], None] = lambda _partition, _items: None


def workflow_key(item: dict[str, Any]) -> tuple[str, str]:
    """Where an item stands that says which workflow it is of, in a list by workflow."""
    return item["tenant_id"], item["workflow_id"]


def places(call: Call, table: str) -> tuple[list[int], dict[str, list[int]]]:
    """The partitions this request is about: those here, and those of others by their base URL."""
    tables, count = call.site.tables, call.site.tables.partitions(table)
    forwarded = was_forwarded(call.request)
    here: list[int] = []
    there: dict[str, list[int]] = {}
    for partition in asked_partitions(call.request, count) if forwarded else range(count):
        place = locate(tables, table, partition, forwarded=forwarded)
        if isinstance(place, str):
            there.setdefault(place, []).append(partition)
        else:
            here.append(partition)
    return here, there


async def listed(call: Call, listing: Listing) -> web.Response:
    """A page of the whole list, or (asked by another worker) of the partitions it names."""
    query = call.query
    asked = cursors.question(call.operation.name, {**query.asked(), **call.ids})
    after = cursors.decode(query.cursor, asked) if query.cursor else None
    here, there = places(call, listing.table)
    parts = [_peer_part(call, listing, owner, partitions, asked) for owner, partitions in there.items()]
    page = merge(await together([_own_part(call, listing, here, after), *parts]), query.limit)
    cursor = None if page.upto is None else cursors.encode(page.upto, asked)
    # Not checked as a whole: each worker has checked its own items, and a newer one may know more fields.
    body = orjson.dumps({"items": [item for _, item in page.found], "next_cursor": cursor})
    return web.Response(body=body, content_type="application/json")


async def together(parts: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All of them or the first failure; nothing is left running."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


async def asked_of(call: Call, owner: str, partitions: Sequence[int]) -> Answer:
    """A peer's whole answer to the same question. Anything else is its refusal, or a 503: never less than was asked."""
    answer = await call.site.peers.ask(call.request, owner, partitions)
    if answer.status in _THE_CALLERS:
        raise Relayed(answer)
    if answer.status != 200:
        named = ", ".join(map(str, partitions))
        raise unavailable(f"Partition {named} cannot be read now: its worker answered {answer.status}.")
    return answer


def of_another_form(partitions: Sequence[int]) -> Problem:
    named = ", ".join(map(str, partitions))
    return unavailable(f"The worker of partition {named} answers in another form: is it of another version?")


async def _own_part(call: Call, listing: Listing, partitions: Sequence[int], after: Position | None) -> Part:
    """This worker's partitions, within the scan budget of one request."""
    share = max(1, call.site.settings.list_scan_budget // max(1, len(partitions)))
    return merge([await _partition(call, listing, number, after, share) for number in partitions], call.query.limit)


async def _partition(call: Call, listing: Listing, partition: int, after: Position | None, budget: int) -> Part:
    page = await paged(call, listing.table, partition, listing.read, after, budget=budget)
    listing.finish(partition, page.items)
    for item in page.items:
        listing.item.model_validate(item)
    return Part([(listing.key(item), item) for item in page.items], page.next)


async def _peer_part(call: Call, listing: Listing, owner: str, partitions: Sequence[int], asked: bytes) -> Part:
    answer = await asked_of(call, owner, partitions)
    try:
        said = orjson.loads(answer.body)
        found = [(listing.key(item), item) for item in said["items"]]
        upto = None if said["next_cursor"] is None else cursors.decode(said["next_cursor"], asked)
    except (ValueError, KeyError, TypeError, Problem):
        raise of_another_form(partitions) from None
    return Part(found, upto)
