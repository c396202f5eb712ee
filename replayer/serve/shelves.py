"""Shelves of the index over all partitions: what they come to together is exact, or a 503.

Between workers (the hop header) heads travel as the rows they are: sums and distributions can be added up, what is made
of them cannot.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import orjson
from aiohttp import web

from replayer.core import lookup
from replayer.core.errors import InvalidPosition, RowUnreadable
from replayer.core.outcome import Rows
from replayer.core.page import Position
from replayer.core.shelf import Shelf, opened
from replayer.core.shelf_head import ShelfHead, decode_shelf_head, encode_shelf_head
from replayer.core.shelf_head import together as together_head
from replayer.serve import cursors
from replayer.serve.gathering import asked_of, of_another_form, places, together
from replayer.serve.owner import SCAN_STEP, rows_here
from replayer.serve.peers import was_forwarded
from replayer.serve.ports import TEMPLATES
from replayer.serve.problems import bad_query, not_found
from replayer.serve.site import Call, answer

Part = tuple[list[tuple[bytes, ShelfHead]], Position | None]
"""What a partition has of what is asked for, and how far it was looked through; None: to the end."""

Read = Callable[[Callable[[], Rows]], Awaitable[Part]]
"""From a partition's rows, which are to be asked for again after every await."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Shelves of all partitions in the order of their keys, complete up to and including `upto`; None: to the end."""

    found: list[tuple[Shelf, ShelfHead]]
    upto: Position | None

    def grouped(self, group: Callable[[Shelf], str]) -> Iterator[tuple[str, list[tuple[Shelf, ShelfHead]]]]:
        """By name or by version, as far as they are complete."""
        for name, one in groupby(self.found, key=lambda shelf: group(shelf[0])):
            if self.upto is None or (name,) <= self.upto:
                yield name, list(one)


def head_of(shelves: Iterable[tuple[Shelf, ShelfHead]]) -> ShelfHead:
    """What these come to together."""
    return together_head(head for _, head in shelves)


Item = Callable[[str, list[tuple[Shelf, ShelfHead]]], dict[str, Any]]
"""What is said of a thing, or of one of its versions, by its name and its shelves."""


async def page(
    call: Call, kind: bytes, name: str | None, item: Item, named: Mapping[str, Any], nothing: str | None = None
) -> web.Response:
    """A page of all things of a kind, or of the versions of one. `named` is said beside it.

    `nothing`: of what a 404 says where there is none at all; None: an empty page says it.
    """
    query = call.query
    asked = cursors.question(call.operation.name, {**query.asked(), **call.ids})
    after = cursors.decode(query.cursor, asked) if query.cursor else None

    async def read(rows: Callable[[], Rows]) -> Part:
        heads = lookup.Heads(kind, name, after, query.limit)
        while heads.step(rows(), SCAN_STEP):  # noqa: ASYNC110 - nothing is waited for: others get their turn
            await asyncio.sleep(0)
        return heads.found, heads.upto

    try:
        found = await gather(call, read)
    except InvalidPosition:
        raise bad_query("cursor", "Not a cursor of this list: start again without it.") from None
    if isinstance(found, web.Response):
        return found
    if nothing is not None and after is None and not found.found:
        raise not_found(nothing)
    groups = list(found.grouped(lambda shelf: shelf.name if name is None else shelf.version))
    shown, following = groups[: query.limit], found.upto
    if len(groups) > query.limit:
        following = (shown[-1][0],)
    items = [item(group, heads) for group, heads in shown]
    cursor = None if following is None else cursors.encode(following, asked)
    return answer(call, {**named, "items": items, "next_cursor": cursor})


async def gather(call: Call, read: Read) -> Gathered | web.Response:
    """What all partitions have; asked by another worker, the response with those it names."""
    here, there = places(call, TEMPLATES)
    parts = [await read(partial(rows_here, call, TEMPLATES, partition)) for partition in here]
    if was_forwarded(call.request):
        return _told(parts)
    for more in await together([_of_peer(call, owner, partitions) for owner, partitions in there.items()]):
        parts += more
    found = sorted((one for part, _ in parts for one in part), key=lambda one: one[0])
    upto = min((upto for _, upto in parts if upto is not None), default=None)
    return Gathered([(opened(key), head) for key, head in found], upto)


def _told(parts: Sequence[Part]) -> web.Response:
    said = [
        {"heads": [[_text(key), _text(encode_shelf_head(head))] for key, head in found], "upto": upto}
        for found, upto in parts
    ]
    return web.Response(body=orjson.dumps(said), content_type="application/json")


async def _of_peer(call: Call, owner: str, partitions: Sequence[int]) -> list[Part]:
    answer = await asked_of(call, owner, partitions)
    try:
        return [
            (
                [(_bytes(key), decode_shelf_head(_bytes(head))) for key, head in part["heads"]],
                None if part["upto"] is None else tuple(part["upto"]),
            )
            for part in orjson.loads(answer.body)
        ]
    except (ValueError, KeyError, TypeError, RowUnreadable):
        raise of_another_form(partitions) from None


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: Any) -> bytes:
    return base64.b64decode(text, validate=True)
