"""Starting, watching and striking the processes of tests/engine/counting.py; topics and records for them."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from replayer.kafka.admin import LogAdmin
from replayer.kafka.ports import free_port
from tests.engine.counting import TABLE

ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = 2


async def until(condition: Callable[[], Any], seconds: float = 60.0, what: str = "") -> Any:
    """Poll until the condition (a function, sync or async) gives something true; fail naming what did not come."""
    deadline, last = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        last = condition()
        if isinstance(last, Awaitable):
            last = await last
        if last:
            return last
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {seconds:.0f} s: {what or condition}; last seen: {last!r}")


class Worker:
    """One process. `state()` is what it says of itself, None while it does not answer."""

    def __init__(self, name: str, options: dict[str, Any], directory: Path) -> None:
        self.name = name
        self.port = free_port("127.0.0.1")
        self.data_dir = directory / name
        self.log_file = directory / f"{name}.log"
        self._freeze = directory / f"{name}.freeze"
        paths = {"data_dir": str(self.data_dir), "freeze": str(self._freeze)}
        self.options = {**options, **paths, "name": name, "port": self.port}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.engine.counting", json.dumps(self.options)],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    def move(self) -> None:
        """From the next start on: another address."""
        self.port = self.options["port"] = free_port("127.0.0.1")

    @property
    def exit_code(self) -> int | None:
        assert self.process is not None
        return self.process.poll()

    @property
    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace")

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def freeze(self) -> None:
        """SIGSTOP in the middle of its next step; returns when the process stands still."""
        assert self.process is not None
        self._freeze.touch()
        status = Path(f"/proc/{self.process.pid}/stat")
        await until(lambda: status.read_text().rsplit(")", 1)[1].split()[0] == "T", what=f"{self.name} stands still")

    def thaw(self) -> None:
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    async def ended(self, seconds: float = 60.0) -> int:
        """Exit code, once the process has ended."""
        await until(lambda: self.exit_code is not None, seconds, f"{self.name} ends")
        assert self.exit_code is not None
        return self.exit_code

    async def terminate(self) -> int:
        self.send(signal.SIGTERM)
        return await self.ended()

    async def state(self) -> dict[str, Any] | None:
        found = await self._ask("state")
        return dict(found) if found is not None else None

    async def waits(self) -> list[str]:
        """Where its tasks stand, for a failing test."""
        return list(await self._ask("waits") or ())

    async def _ask(self, path: str) -> Any:
        def ask() -> Any:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=10) as answer:
                    return json.load(answer)
            except (OSError, urllib.error.URLError):
                return None

        return await asyncio.to_thread(ask)


class Field:
    """The topics and workers of one test. Ends every process it started."""

    def __init__(self, bootstrap: str, app: str, directory: Path, **options: Any) -> None:
        self.bootstrap, self.app, self.directory = bootstrap, app, directory
        self.options: dict[str, Any] = {
            "app": app,
            "brokers": [bootstrap],
            "sources": [f"{app}-a", f"{app}-b"],
            "dead_letters": f"{app}-dead-letters",
            "partitions": PARTITIONS,
            "guarantee": "exactly_once",
            "session_timeout_s": 3.0,
            "standby_replicas": 0,
            "stop_grace_s": 20.0,
            "batch_max_records": 200,
            "slow_s": 0.0,
            **options,
        }
        self.workers: dict[str, Worker] = {}
        self.sent = 0

    @property
    def sources(self) -> list[str]:
        return list(self.options["sources"])

    @property
    def changelog(self) -> str:
        return f"{self.app}-{TABLE}-changelog"

    async def __aenter__(self) -> Self:
        await self.create_topics([*self.sources, self.options["dead_letters"]])
        await self.create_topics([self.changelog], {"cleanup.policy": "compact"})
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.kill()

    async def create_topics(self, names: Iterable[str], config: dict[str, str] | None = None) -> None:
        async with admin(self.bootstrap) as client:
            topics = [NewTopic(name, self.options["partitions"], 1, topic_configs=config) for name in names]
            answer = await client.create_topics(topics)
        assert all(error[1] == 0 for error in answer.topic_errors), answer

    def worker(self, name: str, **options: Any) -> Worker:
        """The worker of that name; made and started the first time."""
        if name not in self.workers:
            self.workers[name] = Worker(name, {**self.options, **options}, self.directory)
            self.workers[name].start()
        return self.workers[name]

    def dump(self) -> str:
        """The ends of the logs, for a failing test."""
        return "\n".join(f"--- {w.name}\n{w.log[-4000:]}" for w in self.workers.values())

    # -- records

    async def send(self, count: int, keys: int = 50) -> None:
        """Produce `count` records to the first source, spread over the keys, as fast as it goes."""
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap, enable_idempotence=True) as producer:
            await asyncio.gather(*[await self._send(producer, index, keys) for index in range(count)])
        self.sent += count

    @asynccontextmanager
    async def stream(self, rate: float) -> AsyncIterator[None]:
        """Produce so many records a second for as long as the block takes: what is struck in it is struck at work."""
        ending = asyncio.Event()

        async def produce() -> None:
            async with AIOKafkaProducer(bootstrap_servers=self.bootstrap, enable_idempotence=True) as producer:
                began, pending = time.monotonic(), []
                while not ending.is_set():
                    pending.append(await self._send(producer, len(pending), 50))
                    await asyncio.sleep(max(0.0, began + len(pending) / rate - time.monotonic()))
                await asyncio.gather(*pending)
            self.sent += len(pending)

        producing = asyncio.create_task(produce())
        try:
            yield
        finally:
            ending.set()
            await producing

    async def _send(self, producer: AIOKafkaProducer, index: int, keys: int) -> Any:
        topic = self.sources[0]
        return await producer.send(topic, b"value %d of %s" % (index, topic.encode()), b"k%d" % (index % keys))

    # -- what all workers together hold

    async def states(self) -> list[dict[str, Any]]:
        states = [await worker.state() for worker in self.workers.values() if worker.exit_code is None]
        return [state for state in states if state is not None]

    async def partitions(self) -> dict[str, dict[str, Any]] | None:
        """Every partition's rows summed up, or None while one has no owner that is ready."""
        found: dict[str, dict[str, Any]] = {}
        for state in await self.states():
            if state["ready"]:
                found.update(state["partitions"])
        return found if len(found) == self.options["partitions"] else None

    async def ready(self, seconds: float = 60.0) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = await until(self.partitions, seconds, f"all partitions ready\n{self.dump()}")
        return found

    async def events(self) -> int:
        return sum(p["events"] for p in (await self.partitions() or {}).values())

    async def all_counted(self, expected: int | None = None, seconds: float = 90.0) -> dict[str, dict[str, Any]]:
        """Wait until every record sent has a row; then no record may have been counted or folded twice."""
        expected = self.sent if expected is None else expected

        async def complete() -> dict[str, dict[str, Any]] | None:
            found = await self.partitions()
            return found if found and sum(p["events"] for p in found.values()) >= expected else None

        try:
            found: dict[str, dict[str, Any]] = await until(complete, seconds, f"{expected} events")
        except AssertionError as failure:
            waits = "\n".join([wait for worker in self.workers.values() for wait in await worker.waits()])
            raise AssertionError(f"{failure}\nstates: {await self.states()}\n{self.dump()}\n{waits}") from None
        assert sum(p["events"] for p in found.values()) == expected
        assert sum(p["counted"] for p in found.values()) == expected
        if self.options["guarantee"] == "exactly_once":
            assert sum(p["folded"] for p in found.values()) == expected, "a record was folded twice"
        return found

    async def digests(self) -> dict[str, str]:
        return {name: p["digest"] for name, p in (await self.ready()).items()}


def admin(bootstrap: str) -> Any:
    return _Admin(bootstrap)


class _Admin:
    def __init__(self, bootstrap: str) -> None:
        self._client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)

    async def __aenter__(self) -> AIOKafkaAdminClient:
        await self._client.start()
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()


async def read_all(bootstrap: str, topic: str, partitions: int = PARTITIONS) -> list[Any]:
    """Every committed record of a topic, in partition and offset order; what is undecided is waited for."""
    tps = [TopicPartition(topic, p) for p in range(partitions)]
    async with LogAdmin([bootstrap]) as client:
        ends = await client.end_offsets(tps, "read_uncommitted")
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        consumer.assign(tps)
        records: list[Any] = []
        for tp in tps:
            while await consumer.position(tp) < ends[tp]:
                for found in (await consumer.getmany(tp, timeout_ms=200)).values():
                    records.extend(found)
        return records
    finally:
        await consumer.stop()


async def committed(bootstrap: str, group: str, topic: str, partitions: int = PARTITIONS) -> dict[str, int]:
    """The group's committed offsets of a topic, by partition as text (as the workers' states have it)."""
    async with admin(bootstrap) as client:
        offsets = await client.list_consumer_group_offsets(group)
    return {str(p): offsets[tp].offset for p in range(partitions) if (tp := TopicPartition(topic, p)) in offsets}
