"""A real worker process (`replayer worker`), its topics made as `replayer topics create` makes them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.process import Program, ProgramFailed, running, tail
from replayer.deployment import topics
from replayer.kafka.admin import LogAdmin
from replayer.kafka.ports import free_port
from replayer.settings import Settings

COMMAND = (sys.executable, "-m", "replayer.cli", "worker")
_READY_S = 60.0


@dataclass(frozen=True, slots=True)
class Deployment:
    """One app id on one broker. `directory` holds the worker's state and its log."""

    settings: Settings
    directory: Path

    @property
    def log(self) -> Path:
        return self.directory / "output.log"

    def environment(self) -> dict[str, str]:
        """What the worker is told: every setting that is not the default."""
        told = self.settings.model_dump(mode="json", exclude_unset=True)
        return {f"REPLAYER_{name.upper()}": str(value) for name, value in told.items()}


@contextlib.asynccontextmanager
async def deployed(bootstrap: str, name: str, **settings: Any) -> AsyncIterator[Deployment]:
    """An app id of its own with its topics; the state is gone afterwards, the topics are not."""
    app_id = f"bench-{name}-{secrets.token_hex(3)}"
    directory = Path(tempfile.mkdtemp(prefix=f"{app_id}-"))
    told = Settings(
        broker=bootstrap,
        app_id=app_id,
        instance_id="bench-0",
        data_dir=directory / "data",
        web_port=free_port("127.0.0.1"),
        log_format="json",
        **{"log_level": "WARNING", **settings},  # so that the end of the log says why it ended
    )
    try:
        async with LogAdmin(told.brokers) as admin:
            await admin.create(topics(told))
        yield Deployment(told, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.asynccontextmanager
async def ready_worker(deployment: Deployment, within_s: float = _READY_S) -> AsyncIterator[Program]:
    """The worker, once /readyz says so. Raises ProgramFailed where it does not in time."""
    async with running(COMMAND, deployment.log, deployment.environment()) as program:
        await _ready(deployment, program, within_s)
        yield program


async def _ready(deployment: Deployment, program: Program, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline and not program.ended:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{deployment.settings.url}/readyz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)
    raise ProgramFailed(f"the worker did not become ready:\n{tail(deployment.log)}")
