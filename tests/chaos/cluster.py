"""A broker of its own and the workers of one run, as processes."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Self

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, NonEmptyGroup

from replayer.deployment import topics
from replayer.engine.position import PREFIX, Position
from replayer.kafka.admin import LogAdmin
from replayer.kafka.broker import EmbeddedBroker
from replayer.kafka.errors import LogError
from replayer.settings import Settings
from tests.chaos import logs, views
from tests.chaos.seen import At, Name, Seen
from tests.e2e.roles import Role, environment, until
from topics.catalogue import DEAD_LETTERS, SOURCES, Topic

APP = "chaos"
PARTITIONS = 4
CHANGELOG = f"{APP}-timelines-changelog"

#: A worker that is silent for two seconds loses its partitions; steps are small, so that there are many to strike at.
SETTINGS: Mapping[str, str] = {
    "PARTITIONS": str(PARTITIONS),
    "SESSION_TIMEOUT_S": "2",
    "HEARTBEAT_INTERVAL_S": "0.5",
    "REBALANCE_TIMEOUT_S": "10",
    "TRANSACTION_TIMEOUT_S": "10",
    "STOP_GRACE_S": "15",
    "BATCH_MAX_RECORDS": "300",
    "RATE_LIMIT_PER_S": "100000",
    "DEFAULT_TENANT": "nobody",
}


#: Java code that runs for half a minute is not worth compiling well.
_SHORT_LIVED = ("-XX:TieredStopAtLevel=1",)


class Cluster:
    """Use as `with`. `workers` are made here and started by `start`; what still lives at the end is killed.

    `may_end`: workers may be made to end by themselves, with exit code 1 and a reason.
    """

    def __init__(
        self,
        directory: Path,
        *,
        workers: int = 2,
        guarantee: str = "exactly_once",
        module: str = "replayer.cli",
        may_end: bool = False,
        settings: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        self.directory, self.guarantee = directory, guarantee
        self.broker = EmbeddedBroker(data_dir=directory / "broker", properties=properties, java_options=_SHORT_LIVED)
        self._settings = {**SETTINGS, "GUARANTEE": guarantee, **(settings or {})}
        self._module, self._may_end, self._variables = module, may_end, dict(variables or {})
        self._lost_letters: list[tuple[At, str]] = []
        self.roots: dict[str, Path] = {}  # of workers that have another disk: where their data directory is seen
        self.workers: list[Role] = [self.worker(f"w{number}") for number in range(1, workers + 1)]

    def __enter__(self) -> Self:
        try:
            self.broker.start()
            self.create_topics()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.resume()
            if worker.running:
                worker.kill()
        self.broker.stop()

    def create_topics(self) -> None:
        """Make what is missing."""
        self._ask(lambda admin: admin.create(self.topics, 1))

    def start_over(self) -> None:
        """What a worker that met another log asks for: changelogs, offsets and local state are deleted."""

        async def delete(admin: LogAdmin) -> None:
            await admin.delete_topics([topic.name for topic in self.topics if topic.name.endswith("-changelog")])
            for _ in range(100):
                try:
                    await admin.delete_groups([APP])
                    return
                except NonEmptyGroup:  # until the members' sessions are over
                    await asyncio.sleep(0.2)
            await admin.delete_groups([APP])

        self._ask(delete)
        self.create_topics()
        for worker in self.workers:
            self.wipe(worker)

    @property
    def topics(self) -> tuple[Topic, ...]:
        """Every topic the workers need."""
        kept = float(self._settings.get("DELETE_RETENTION_H", "24"))
        return topics(Settings(broker=self.bootstrap, app_id=APP, partitions=PARTITIONS, delete_retention_h=kept))

    @property
    def bootstrap(self) -> str:
        return self.broker.bootstrap

    def worker(self, name: str) -> Role:
        """A worker that is not started yet, with a data directory that stays its own."""
        variables = environment(self.bootstrap, APP, self.directory / "data", INSTANCE_ID=name, **self._settings)
        return Role("worker", variables | self._variables, self.directory / f"{name}.log", module=self._module)

    def data_of(self, worker: Role) -> Path:
        """Where a worker keeps its local state."""
        name = worker.instance
        return self.roots.get(name, self.directory / "data" / APP / name)

    def administer(self, act: Callable[[AIOKafkaAdminClient], Awaitable[Any]]) -> Any:
        """What somebody with rights does to the cluster behind everybody's back."""

        async def work() -> Any:
            client = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
            await client.start()
            try:
                return await act(client)
            finally:
                await client.close()

        return asyncio.run(work())

    def configure(self, topic: str, **settings: str) -> None:
        """Give a topic its usual settings but for these; underscores stand for the dots in their names."""
        (usual,) = (one.config() for one in self.topics if one.name == topic)
        named = {name.replace("_", "."): value for name, value in settings.items()}
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, usual | named)
        for answer in self.administer(lambda client: client.alter_configs([resource])):
            assert all(code == 0 for code, *_ in answer.resources), answer

    def wipe(self, worker: Role) -> None:
        """Delete its local state."""
        for path in self.data_of(worker).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def ends(self) -> dict[TopicPartition, int]:
        """Where the source logs end."""
        return dict(self._ask(lambda admin: admin.end_offsets(_sources())))

    def ends_of(self, topic: str) -> dict[TopicPartition, int]:
        """Where the partitions of a topic end."""
        tps = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        return dict(self._ask(lambda admin: admin.end_offsets(tps)))

    def copy_by_key(self, topic: str, partitions: int) -> dict[At, At]:
        """Move the records of a topic that has so many partitions into one made anew with the usual number.

        Those of a key stay in the order in which they were appended. Answers with where each was and where it is now.
        """
        found = asyncio.run(logs.records(self.bootstrap, [topic], partitions))
        self.administer(lambda client: client.delete_topics([topic]))
        self.create_topics()
        return asyncio.run(logs.append(self.bootstrap, chain.from_iterable(found.values()), PARTITIONS))

    def cleaned(self) -> dict[int, int]:
        """Up to which offset the broker's cleaner has compacted each partition of the changelog."""
        checkpoint = self.directory / "broker" / "log" / "cleaner-offset-checkpoint"
        lines = checkpoint.read_text().splitlines() if checkpoint.exists() else []
        entries = (line.split() for line in lines if line.startswith(f"{CHANGELOG} "))
        return {int(partition): int(offset) for _, partition, offset in entries}

    def positions(self) -> dict[TopicPartition, int]:
        """How far the sources have been folded, as the changelog says: what a restart goes by in each guarantee."""
        return {
            TopicPartition(key[len(PREFIX) :].decode(), partition): Position.decode(value).next
            for partition, table in self.rows().items()
            for key, value in table.items()
            if key.startswith(PREFIX)
        }

    def committed(self) -> dict[TopicPartition, int]:
        """Committed offsets of the group."""
        return dict(self._ask(lambda admin: admin.committed(APP)))

    def _ask(self, question: Callable[[LogAdmin], Awaitable[Any]]) -> Any:
        async def ask() -> Any:
            async with LogAdmin([self.bootstrap]) as admin:
                return await question(admin)

        return asyncio.run(ask())

    @property
    def running(self) -> list[Role]:
        return [worker for worker in self.workers if worker.running]

    def start(self, *workers: Role) -> None:
        """Start these and wait until each is ready."""
        for worker in workers:
            worker.start()
        self.await_ready(*workers)

    def await_ready(self, *workers: Role) -> None:
        for worker in workers:
            until(worker.ready, f"{worker.instance} ready", worker.tail)

    def stop(self) -> list[int]:
        """SIGTERM to all that run, at once; answers with their exit codes."""
        running = self.running
        for worker in running:
            worker.terminate()
        return [worker.ended() for worker in running]

    # What it holds

    def quiet(self, timeout_s: float) -> list[str]:
        """Wait until all that the logs hold has been folded and every worker is ready; answers with what was not."""
        lagging = self.folded(timeout_s)
        self.await_ready(*self.running)
        return [f"not folded within {timeout_s:.0f} s: {where}" for where in lagging]

    def folded(self, timeout_s: float = 120.0) -> list[str]:
        """Wait until the group has committed the ends of all source logs; answers with those it has not, if any."""
        deadline = time.monotonic() + timeout_s
        while lagging := asyncio.run(self._lagging()):
            self._look_after_workers()
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        return lagging

    def revive(self, *workers: Role) -> None:
        """Wait until they are ready, however often one ends meanwhile."""

        def ready() -> bool:
            self._look_after_workers()
            return all(worker.get("/readyz")[0] == 200 for worker in workers)

        until(ready, "ready in the end", self.tails)

    def _look_after_workers(self) -> None:
        """Start again what has ended by itself, as Kubernetes would, where a worker may; it must have said why."""
        for worker in self.workers:
            if worker.exit_code and worker.exit_code != -signal.SIGKILL:
                assert self._may_end, f"a worker has ended\n{worker.tail()}"
                assert worker.exit_code == 1, worker.tail()
                assert "the worker ends" in worker.log.read_text(), worker.tail()
                worker.start()

    async def _lagging(self) -> list[str]:
        """Source partitions whose committed offset is not the end of the log."""
        tps = _sources()
        try:
            async with LogAdmin([self.bootstrap]) as admin:
                ends, committed = await admin.end_offsets(tps), await admin.committed(APP)
        except (KafkaError, LogError, OSError) as away:
            return [f"the broker is away ({type(away).__name__})"]
        return [
            f"{tp.topic}[{tp.partition}] is committed at {committed.get(tp, 0)} of {ends[tp]}"
            for tp in tps
            if committed.get(tp, 0) != ends[tp]
        ]

    def rows(self) -> dict[int, dict[bytes, bytes]]:
        """The timelines table as its changelog has it, by partition."""
        return asyncio.run(logs.table(self.bootstrap, CHANGELOG, PARTITIONS))

    def letters(self) -> list[tuple[At, str]]:
        """All dead letters there have been."""
        there = DEAD_LETTERS.name in self._ask(lambda admin: admin.partitions([DEAD_LETTERS.name]))
        return self._lost_letters + (asyncio.run(logs.dead_letters(self.bootstrap, PARTITIONS)) if there else [])

    def lose_letters(self) -> None:
        """Delete the topic of dead letters, for now. What it held counts on."""
        self._lost_letters = self.letters()
        self.administer(lambda client: client.delete_topics([DEAD_LETTERS.name]))

    def views_of(self, workers: Sequence[Role]) -> list[dict[Name, Seen]]:
        """What each of them says, asked side by side."""
        return asyncio.run(views.of_all([worker.url for worker in workers]))

    def tails(self) -> str:
        return "\n".join(worker.tail() for worker in self.workers)


def _sources() -> list[TopicPartition]:
    return [TopicPartition(topic.name, number) for topic in SOURCES for number in range(PARTITIONS)]
