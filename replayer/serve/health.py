"""For probes, scrapers and client generators: alive, ready, counters, and the description of all there is."""

from __future__ import annotations

from typing import Literal

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict

from replayer.serve.problems import not_ready
from replayer.serve.site import Call, answer


class Alive(BaseModel):
    """The event loop turns. It says nothing of Kafka: a broker that is away is no reason to restart a worker."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["alive"]


class Ready(BaseModel):
    """Partitions are assigned, tables recovered, no rebalance is under way. Otherwise a 503 says what is missing."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["ready"]
    detail: str


async def livez(call: Call) -> web.Response:
    return answer(call, {"status": "alive"})


async def readyz(call: Call) -> web.Response:
    status = call.site.tables.status()
    if status.ready:
        return answer(call, {"status": "ready", "detail": status.detail})
    missing = [
        what
        for what, lacking in (
            ("not assigned", not status.assigned),
            ("not recovered", not status.recovered),
            ("rebalancing", status.rebalancing),
        )
        if lacking
    ]
    raise not_ready(f"{', '.join(missing)}: {status.detail}")


async def metrics(call: Call) -> web.Response:
    return web.Response(body=generate_latest(call.site.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def openapi(call: Call) -> web.Response:
    return web.Response(body=call.site.document, content_type="application/json")
