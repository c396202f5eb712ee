"""Every timeline as a worker's web views tell it, whoever owns it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp

from replayer.core.simulation import TENANTS
from tests.chaos.seen import Name, Seen, comparable

_AT_ONCE = 16
_PATIENCE_S = 60.0


async def timelines(url: str) -> dict[Name, Seen]:
    """All workflows of all tenants, asked of one worker."""
    limit = asyncio.Semaphore(_AT_ONCE)
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=_AT_ONCE)) as session:

        async def one(head: dict[str, Any]) -> tuple[Name, Seen]:
            async with limit:
                tenant, workflow = head["tenant_id"], head["workflow_id"]
                items = await _all(session, f"/v1/workflows/{workflow}/timeline", tenant=tenant, order="occurred")
                events = tuple((item["event_id"], item["variant"], _at(item["position"])) for item in items)
                return (tenant, workflow), Seen(comparable(head), events)

        heads = [head for tenant in TENANTS for head in await _all(session, "/v1/workflows", tenant=tenant)]
        return dict(await asyncio.gather(*(one(head) for head in heads)))


async def of_all(urls: Sequence[str]) -> list[dict[Name, Seen]]:
    """The same of several workers."""
    return await asyncio.gather(*(timelines(url) for url in urls))


def _at(position: dict[str, Any]) -> tuple[str, int, int]:
    return position["topic"], position["partition"], position["offset"]


async def _all(session: aiohttp.ClientSession, path: str, **asked: str) -> list[dict[str, Any]]:
    """Every page. A 503 is waited for: partitions may change hands whenever the machine is busy."""
    items: list[dict[str, Any]] = []
    query = {"limit": "1000", **asked}
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            async with session.get(path, params=query) as answer:
                if answer.status == 503:
                    await asyncio.sleep(0.2)
                    continue
                assert answer.status == 200, f"{path}: {answer.status}"
                page = await answer.json()
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            query = {**query, "cursor": page["next_cursor"]}
