"""What must hold before the Faust app is made: each failure is a sentence that says what to do."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import structlog
from aiohttp import web

from replayer.core.errors import ReplayerError
from replayer.serve.problems import not_ready

log = structlog.get_logger(__name__)

T = TypeVar("T")


class CannotStart(ReplayerError):
    """Something the process needs is not there; the text says what and what to do."""


@contextlib.contextmanager
def own_directory(path: Path) -> Iterator[Path]:
    """The data directory, made where missing, writable, and locked for this process as long as the context lasts.

    Raises CannotStart.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path / ".replayer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise CannotStart(
            f"The data directory {path} cannot be written ({exc.strerror}): change its permissions, or name another in "
            "REPLAYER_DATA_DIR."
        ) from exc
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield path
    except BlockingIOError as exc:
        raise CannotStart(
            f"The data directory {path} is in use by another replayer process: give each one its own "
            "(REPLAYER_DATA_DIR)."
        ) from exc
    finally:
        os.close(handle)


def free_to_listen(host: str, port: int) -> None:
    """Raises CannotStart where the address cannot be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                raise CannotStart(
                    f"Port {port} on {host} is taken: stop what listens there, or set REPLAYER_WEB_PORT."
                ) from exc
            raise CannotStart(
                f"Cannot listen on {host}:{port} ({exc.strerror}): check REPLAYER_WEB_HOST and REPLAYER_WEB_PORT."
            ) from exc


@contextlib.asynccontextmanager
async def alive_but_not_ready(host: str, port: int, why: str) -> AsyncIterator[None]:
    """Answers the probes while the app itself cannot start yet: alive, so that nothing restarts us; not ready."""

    async def livez(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def others(_: web.Request) -> web.Response:
        return not_ready(why).response()

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/{tail:.*}", others)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()


def before_start(host: str, port: int, steps: Callable[[], Awaitable[T]]) -> T | None:
    """What the steps come to that need the broker; the probes are answered meanwhile.

    None when SIGTERM or SIGINT came first: there is nothing to start any more. Raises what the steps raise.
    """

    async def go() -> T | None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with alive_but_not_ready(host, port, "waiting for the Kafka brokers"):
            work, told = asyncio.ensure_future(steps()), asyncio.ensure_future(stop.wait())
            await asyncio.wait([work, told], return_when=asyncio.FIRST_COMPLETED)
            told.cancel()
            if work.done():
                return work.result()
            work.cancel()
            await asyncio.wait([work])
            return None

    free_to_listen(host, port)
    return asyncio.run(go())
