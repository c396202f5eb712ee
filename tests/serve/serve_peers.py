"""Others that are asked in a worker's stead: one that never answers, one that is no worker."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.serve.serve_cluster import free_port


def again_in(reply: Any) -> None:
    assert (reply.status, reply.field) == (503, None)
    assert 1 <= int(reply.headers["Retry-After"]) <= 10


@contextmanager
def deaf() -> Iterator[str]:
    """Takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@dataclass
class Stranger:
    """A server that is no worker, and remembers what it was asked."""

    url: str
    answer: web.Response = field(default_factory=lambda: web.Response(text="hello"))
    seen: list[tuple[str, str]] = field(default_factory=list)
    requests: list[web.Request] = field(default_factory=list)


@asynccontextmanager
async def stranger() -> AsyncIterator[Stranger]:
    there = Stranger(f"http://127.0.0.1:{free_port()}")

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        there.seen.append((request.path_qs, request.host))
        there.requests.append(request)
        return web.Response(status=there.answer.status, body=there.answer.body, headers=dict(there.answer.headers))

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(there.url.rpartition(":")[2])).start()
    yield there
    await runner.cleanup()
