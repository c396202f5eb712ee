"""A contender: a program, its settings as listed in the results, and one measured run of it."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cluster import Cluster, delete
from benchmarks.contenders.job import Job
from benchmarks.process import python_of, running, tail
from benchmarks.rate import NotMeasurable, Rate, enough, rate
from benchmarks.watch import Watch
from benchmarks.worker import COMMAND, deployed
from replayer.kafka.ports import free_port

#: The program of a contender that is the product's own worker process.
WORKER = "worker"

#: Share of the log that counts: at its end a contender waits with nothing to do.
_USABLE = 0.95


@dataclass(frozen=True, slots=True)
class Contender:
    """`program`: WORKER, or a module of benchmarks.contenders run in `environment`, which is product or peers.

    `settings` are what it is told beyond its defaults.
    """

    name: str
    label: str
    program: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: str = "product"
    warm_up_s: float = 3.0


@dataclass(frozen=True, slots=True)
class Source:
    """The log everybody reads: `events` records in `topic`."""

    broker: Cluster
    topic: str
    partitions: int
    events: int


async def measure(contender: Contender, source: Source, seconds: float) -> Rate:
    """One run from the log's start: its rate over `seconds` behind the warm-up, or over what the log gives.

    Everything the run made (data directory, changelogs) is gone afterwards. Raises ProgramFailed, NotMeasurable.
    """
    end = int(source.events * _USABLE)
    async with AsyncExitStack() as stack:
        group, log, command, environment = await _prepare(contender, source, stack)
        watch = Watch(source.broker, group, source.topic, source.partitions)
        async with running(command, log, environment) as program:
            await watch.follow(program.pid, lambda seen: enough(seen, contender.warm_up_s, seconds, end))
        try:
            return rate(watch.samples, contender.warm_up_s, end)
        except NotMeasurable as exc:
            raise NotMeasurable(f"{contender.label}: {exc}. Its output ends:\n{tail(log)}") from exc


async def _prepare(
    contender: Contender, source: Source, stack: AsyncExitStack
) -> tuple[str, Path, Sequence[str], Mapping[str, str]]:
    """The consumer group, the log file, the command and its environment; what has to be undone goes on the stack."""
    if contender.program == WORKER:
        deployment = await stack.enter_async_context(
            deployed(source.broker.bootstrap, contender.name, **contender.settings)
        )
        group = deployment.settings.app_id
        stack.push_async_callback(delete, source.broker.admin, group)
        return group, deployment.log, COMMAND, deployment.environment()
    group = f"bench-{contender.name}-{secrets.token_hex(3)}"
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"{group}-")))
    stack.push_async_callback(delete, source.broker.admin, group)
    job = Job(
        source.broker.bootstrap,
        source.topic,
        source.partitions,
        group,
        str(directory / "data"),
        free_port("127.0.0.1"),
        dict(contender.settings),
    )
    program = f"benchmarks.contenders.{contender.program}"
    return group, directory / "output.log", (python_of(contender.environment), "-m", program, job.as_argument()), {}
