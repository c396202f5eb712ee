"""Several web servers in one process over one fake cluster: Faust's own server each, real sockets, rows in memory."""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import faust
from yarl import URL

from replayer.core.outcome import Rows
from replayer.kafka import ports
from replayer.metrics import Metrics
from replayer.serve import server
from replayer.serve.ports import Status
from replayer.settings import Settings

PARTITIONS = 4
TABLES = ("timelines", "replays", "templates")


class DictRows:
    """Rows of one partition. `scanning` counts iterators that are alive: at every await it must be 0."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self._ordered: list[bytes] = []
        self.scanning = 0
        self.seen = 0

    def write(self, rows: Sequence[tuple[bytes, bytes | None]]) -> None:
        for key, value in rows:
            if value is None:
                self.values.pop(key, None)
                self._ordered = []
            else:
                self.values[key] = value

    def get(self, key: bytes) -> bytes | None:
        return self.values.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.values.get(key) for key in keys]

    def scan(self, prefix: bytes, start: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        self.scanning += 1
        try:
            if len(self._ordered) != len(self.values):
                self._ordered = sorted(self.values)
            at = bisect.bisect_left(self._ordered, max(prefix, start or prefix))
            while at < len(self._ordered) and (key := self._ordered[at]).startswith(prefix):
                self.seen += 1
                yield key, self.values[key]
                at += 1
        finally:
            self.scanning -= 1


def partition_of(key: str) -> int:
    """Not murmur2: any stable function will do for a fake."""
    return sum(key.encode()) % PARTITIONS


@dataclass
class World:
    """What is true: the rows, and who really owns them."""

    rows: dict[tuple[str, int], DictRows] = field(default_factory=dict)
    owners: dict[tuple[str, int], str] = field(default_factory=dict)

    def of(self, table: str, key: str) -> DictRows:
        return self.rows[table, partition_of(key)]

    def watch(self) -> list[DictRows]:
        return list(self.rows.values())


WELL = Status(assigned=True, recovered=True, rebalancing=False, detail="4 partitions")


@dataclass
class FakeTables:
    """What one worker knows. `believes` overrides the truth about owners, to make workers disagree."""

    world: World
    own_url: str
    state: Status = WELL
    believes: dict[int, str | None] = field(default_factory=dict)

    def partitions(self, table: str, /) -> int:
        return PARTITIONS

    def partition_of(self, key: str, /) -> int:
        return partition_of(key)

    def rows(self, table: str, partition: int, /) -> Rows | None:
        return self.world.rows[table, partition] if self.world.owners.get((table, partition)) == self.own_url else None

    def owner(self, table: str, partition: int, /) -> str | None:
        if partition in self.believes:
            return self.believes[partition]
        return self.world.owners.get((table, partition))

    def status(self) -> Status:
        return self.state


class CountingMetrics(Metrics):
    """The product's metrics, and what the views counted as a list."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, int]] = []
        self.asked: list[tuple[str, int | None]] = []

    def answered(self, operation: str, status: int, seconds: float) -> None:
        super().answered(operation, status, seconds)
        self.seen.append((operation, status))

    def forwarded(self, operation: str, status: int | None) -> None:
        super().forwarded(operation, status)
        self.asked.append((operation, status))


@dataclass
class Worker:
    app: Any
    url: str
    tables: FakeTables
    metrics: CountingMetrics
    client: aiohttp.ClientSession

    async def get(self, path: str, method: str = "GET", **kwargs: Any) -> Reply:
        """`path` is sent as it is written: nothing is quoted or resolved."""
        target = URL(self.url + path, encoded=True)
        async with self.client.request(method, target, allow_redirects=False, **kwargs) as answer:
            return Reply(answer.status, dict(answer.headers), await answer.read())


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        import orjson

        return orjson.loads(self.body)

    @property
    def field(self) -> str | None:
        assert self.headers["Content-Type"] == "application/problem+json", self
        assert self.json["status"] == self.status
        found: str | None = self.json.get("field")
        return found


class Cluster:
    """Workers over one world; partition p belongs to worker p mod n until a test says otherwise."""

    def __init__(self, directory: Path) -> None:
        self.world = World()
        self.workers: list[Worker] = []
        self._directory = directory
        self._client: aiohttp.ClientSession | None = None

    async def start(self, count: int = 1, **settings: Any) -> list[Worker]:
        self._client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        for _ in range(count):
            await self._start_one(settings)
        for table in TABLES:
            for partition in range(PARTITIONS):
                self.world.rows[table, partition] = DictRows()
                self.world.owners[table, partition] = self.workers[partition % count].url
        return self.workers

    async def _start_one(self, settings: dict[str, Any]) -> None:
        assert self._client is not None
        made = Settings(**{"web_port": free_port(), "rate_limit_per_s": 100_000, **settings})
        metrics = CountingMetrics()
        app = faust.App(
            f"web-{made.web_port}",
            broker="kafka://127.0.0.1:1",
            datadir=self._directory / str(made.web_port),
            web_bind=made.web_host,
            web_host=made.web_host,
            web_port=made.web_port,
            web_application_options=server.web_application_options(made, metrics),
            **server.FAUST_WEB_SETTINGS,
        )
        tables = FakeTables(self.world, made.url)
        app.web._runner = server.attach(app, tables, made, metrics)
        await app.web.start()
        self.workers.append(Worker(app, made.url, tables, metrics, self._client))

    async def stop(self) -> None:
        if self._client is not None:
            await self._client.close()
        for worker in self.workers:
            await worker.app.web.stop()


def free_port() -> int:
    return ports.free_port("127.0.0.1")


async def no_iterator_alive(world: World) -> None:
    """Runs beside a test: looks at every turn of the event loop."""
    while True:
        assert not any(rows.scanning for rows in world.watch()), "an iterator is held across an await"
        await asyncio.sleep(0)
