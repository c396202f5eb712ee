"""A broker of its own and the workers of one run, as processes."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from aiokafka.errors import KafkaError

from replayer.kafka.admin import LogAdmin
from replayer.kafka.broker import EmbeddedBroker
from replayer.kafka.errors import BrokerStartError, LogError
from tests.chaos import views
from tests.chaos.brokerside import APP, PARTITIONS, BrokerSide, sources
from tests.chaos.seen import Name, Seen
from tests.e2e.roles import Role, environment, until

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


class Cluster(BrokerSide):
    """Use as `with`: the broker runs, `workers` are there, started by `start`; what still lives at the end is killed.

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
        super().__init__()
        self.directory, self.guarantee, self._count = directory, guarantee, workers
        self.broker_dir, self._properties = directory / "broker", properties
        self._settings = {**SETTINGS, "GUARANTEE": guarantee, **(settings or {})}
        self.delete_retention_h = float(self._settings.get("DELETE_RETENTION_H", "24"))
        self._module, self._may_end, self._variables = module, may_end, dict(variables or {})
        self.roots: dict[str, Path] = {}  # of workers that have another disk: where their data directory is seen
        self.workers: list[Role] = []

    def __enter__(self) -> Self:
        self.broker = self._started()
        self.bootstrap = self.broker.bootstrap
        self.workers = [self.worker(f"w{number}") for number in range(1, self._count + 1)]
        try:
            self.create_topics()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _started(self) -> EmbeddedBroker:
        """Between the choice of a port and its use somebody else on the machine may take it: then another one."""
        for again in (True, True, False):
            broker = EmbeddedBroker(data_dir=self.broker_dir, properties=self._properties, java_options=_SHORT_LIVED)
            try:
                return broker.start()
            except BrokerStartError as error:
                if not again or "is taken" not in str(error):
                    raise
                shutil.rmtree(self.broker_dir)
        raise AssertionError("not reached")

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.resume()
            if worker.running:
                worker.kill()
        self.broker.stop()

    def start_over(self) -> None:
        """What a worker that met another log asks for: changelogs, offsets and local state are deleted."""
        self.delete_tables()
        for worker in self.workers:
            self.wipe(worker)

    def worker(self, name: str) -> Role:
        """A worker that is not started yet, with a data directory that stays its own."""
        variables = environment(self.bootstrap, APP, self.directory / "data", INSTANCE_ID=name, **self._settings)
        return Role("worker", variables | self._variables, self.directory / f"{name}.log", module=self._module)

    def data_of(self, worker: Role) -> Path:
        """Where a worker keeps its local state."""
        name = worker.instance
        return self.roots.get(name, self.directory / "data" / APP / name)

    def wipe(self, worker: Role) -> None:
        """Delete its local state."""
        for path in self.data_of(worker).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

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
        """Wait until all that the logs hold has been folded and every worker is ready; answers with what was not.

        One that has ended with nothing left to do counts, too: where it may it is started again, else it is a failure.
        """
        lagging = self.folded(timeout_s)
        self.revive(*self.workers)
        return [f"not folded within {timeout_s:.0f} s: {where}" for where in lagging]

    def absent(self) -> list[str]:
        """The workers that do not run, with their exit codes."""
        return [f"{worker.instance} (exit code {worker.exit_code})" for worker in self.workers if not worker.running]

    def folded(self, timeout_s: float = 120.0) -> list[str]:
        """Wait until the group has committed the ends of all source logs; answers with those it has not, if any."""
        deadline = time.monotonic() + timeout_s
        while lagging := self.lagging():
            self.look_after_workers()
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        return lagging

    def revive(self, *workers: Role) -> None:
        """Wait until they are ready, however often one ends meanwhile."""

        def ready() -> bool:
            self.look_after_workers()
            return all(worker.get("/readyz")[0] == 200 for worker in workers)

        until(ready, "ready in the end", self.tails)

    def look_after_workers(self) -> None:
        """Start again what has ended by itself, as Kubernetes would, where a worker may; it must have said why."""
        for worker in self.workers:
            if worker.exit_code is not None and not worker.dismissed:
                assert self._may_end, f"a worker has ended with exit code {worker.exit_code}\n{worker.tail()}"
                assert worker.exit_code == 1, worker.tail()
                assert "the worker ends" in worker.log.read_text(), worker.tail()
                worker.start()

    def lagging(self) -> list[str]:
        """Source partitions whose committed offset is not the end of the log."""
        return asyncio.run(self._lagging())

    async def _lagging(self) -> list[str]:
        tps = sources()
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

    def views_of(self, workers: Sequence[Role]) -> list[dict[Name, Seen]]:
        """What each of them says, asked side by side."""
        return asyncio.run(views.of_all([worker.url for worker in workers]))

    def tails(self) -> str:
        return "\n".join(worker.tail() for worker in self.workers)
