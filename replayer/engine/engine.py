"""The engine of one role: its Faust app, its tables, and what goes on between them and the broker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

import structlog
from aiokafka.errors import KafkaError
from faust.types import TP
from mode import Service

from replayer.core.outcome import Rows
from replayer.engine.ahead import Ahead
from replayer.engine.app import create_app
from replayer.engine.assignment import Assignment
from replayer.engine.batch import Batch
from replayer.engine.config import EngineConfig, TableSpec
from replayer.engine.consumer import BatchConsumer
from replayer.engine.measures import Measures
from replayer.engine.memory import RocksMemory
from replayer.engine.partitions import added
from replayer.engine.recovery import Changelogs
from replayer.engine.rows import RocksRows, StateUnreadable
from replayer.engine.schema import BatchSchema
from replayer.engine.store import BatchStore
from replayer.engine.versions import check_versions

log = structlog.get_logger(__name__)

#: Batches Faust collects before it calls the store (which has them by then). Not 1: Faust then goes on reading the
#: changelogs of active partitions after recovery.
_RECOVERY_BATCHES = 8

_LOOK_S = 1.0
_MEASURE_S = 5.0
_TOUCH_S = 30.0


class Engine:
    """Owns the loop from fetch to commit for every batched topic of one Faust app.

    Made once per process. `app` is the Faust app: agents subscribe to `channel(topic)` and hand each batch to
    `deliver`. Failure of any part ends the process through `fail`, with a sentence.
    """

    def __init__(self, config: EngineConfig, tables: Sequence[TableSpec], metrics: Measures) -> None:
        check_versions()
        self.config, self.metrics = config, metrics
        self.memory = RocksMemory(config.rocksdb_memory_bytes)
        self.failure: str | None = None
        self.stop_worker: Callable[[], None] | None = None
        self.specs = {spec.name: spec for spec in tables}
        self.library = next((spec.library for spec in tables if spec.library is not None), None)
        self.app = create_app(config, self)
        self.changelogs = Changelogs(self)
        self._tables = {spec.name: self._create_table(spec) for spec in tables}
        self._by_changelog = {self.changelog(name): name for name in self.specs}
        self._channels = {topic: self._create_channel(topic, spec) for spec in tables for topic in spec.sources}
        self._assignment = Assignment(self)
        self._committable: dict[TP, int] = {}
        self.ahead = Ahead(config.max_ahead_records)

    def _create_table(self, spec: TableSpec) -> Any:
        return self.app.Table(
            spec.name,
            partitions=spec.partitions,
            key_type=bytes,
            value_type=bytes,
            schema=BatchSchema(),
            on_changelog_event=self.changelogs.on_event,
            recovery_buffer_size=_RECOVERY_BATCHES,
            standby_buffer_size=_RECOVERY_BATCHES,
        )

    def _create_channel(self, topic: str, spec: TableSpec) -> Any:
        # acks=False: Faust neither tracks nor commits these offsets; they are the lanes'.
        return self.app.topic(topic, partitions=spec.partitions, schema=BatchSchema(), acks=False)

    @property
    def consumer(self) -> BatchConsumer:
        return cast(BatchConsumer, self.app.consumer)

    def channel(self, topic: str) -> Any:
        """The Faust topic an agent subscribes to; its events are batches."""
        return self._channels[topic]

    def changelog(self, table: str) -> str:
        """Name of the table's changelog topic."""
        return str(self._tables[table].changelog_topic.get_topic_name())

    def store(self, table: str) -> BatchStore:
        data = self._tables[table].data
        return cast(BatchStore, getattr(data, "data", data))

    def store_of_changelog(self, topic: str) -> BatchStore:
        return self.store(self._by_changelog[topic])

    def run_beside(self, start: Callable[[], Awaitable[None]], stop: Callable[[], Awaitable[None]]) -> None:
        """Have something start once the tables have recovered and stop with the app. Call before the app starts."""

        class Beside(Service):
            async def on_start(self) -> None:
                await start()

            async def on_stop(self) -> None:
                await stop()

        self.app.service(Beside)

    # -- what Faust's parts call

    def deliver(self, batch: Batch) -> None:
        """Hand a batch to its lane; never waits."""
        self._assignment.deliver(batch)

    def actives(self) -> set[TP]:
        return set(self.app.assignor.assigned_actives())

    def standbys(self) -> set[TP]:
        return set(self.app.assignor.assigned_standbys())

    async def take_over(self, generation: int) -> None:
        """Partitions were assigned; recovery follows."""
        await self._assignment.take_over(generation)

    def recovered(self, generation: int) -> None:
        """The tables are as their changelogs have them."""
        self._assignment.recovered(generation)

    async def opened(self) -> None:
        await self._assignment.opened()

    async def close_lanes(self) -> None:
        """Partitions are about to be revoked."""
        await self._assignment.close()

    async def stop(self) -> None:
        """The app stops. May be called more than once."""
        await self._assignment.stop()

    # -- at-least-once: offsets go last

    def committable(self, partition: int, offsets: Mapping[str, int]) -> None:
        if not self.config.exactly_once:
            self._committable.update({TP(topic, partition): offset for topic, offset in offsets.items()})

    async def commit(self) -> None:
        offsets, self._committable = self._committable, {}
        if offsets and not await self.consumer.commit_offsets(offsets):
            log.info("offsets were not committed: the group is rebalancing; the tables' positions stand")

    async def housekeep(self) -> None:
        """Runs as long as the consumer: commits (at-least-once), misses what got lost, keeps idle state current."""
        looked = touched = time.monotonic()
        while True:
            await asyncio.sleep(min(self.config.commit_interval_s, _LOOK_S))
            if self._assignment.open:
                await self.commit()
            now = time.monotonic()
            if now - looked >= _LOOK_S:
                looked = now
                self._look()
            if self._assignment.open and now - touched >= _TOUCH_S:
                touched = now
                # Cut off from the group, a table does not follow its changelog any more.
                if await self.consumer.is_member():
                    for name in self.specs:
                        mine = self.actives() | self.standbys()
                        self.store(name).touch({tp.partition for tp in mine if tp.topic == self.changelog(name)})

    async def measure(self) -> None:
        """Runs as long as the consumer."""
        while True:
            await asyncio.sleep(_MEASURE_S)
            await self.measure_lag()
            await self.measure_ahead()

    async def measure_lag(self) -> None:
        """How far the ends of the sources are beyond what the tables have taken up; nothing of what is not known."""
        sources = {tp for lane in self._assignment for tp in lane.next_offsets}
        ends = await self.consumer.ends(sources) if sources else {}
        lags = {
            (lane.table, tp.topic, tp.partition): max(0, ends[tp] - offset)
            for lane in self._assignment
            for tp, offset in lane.next_offsets.items()
            if tp in ends
        }
        self.metrics.lag(lags)

    async def measure_ahead(self) -> None:
        """How much of what is sent on waits, in all partitions, whoever owns them; as before, with the broker away."""
        fed = {topic for spec in self.specs.values() for topic in spec.feeds}
        tps = [TP(topic, number) for topic in fed for number in range(self.consumer.partition_count(topic) or 0)]
        if tps and self._assignment.open:
            with contextlib.suppress(KafkaError):
                begins, ends = await self.consumer.begins(tps), await self.consumer.ends(tps)
                self.ahead.look(begins, ends, await self.consumer.committed(tps))
        self.metrics.ahead(self.ahead.waiting)

    def _look(self) -> None:
        if self.app.should_stop:
            return  # databases are being closed: a look would open them again
        if (error := self.consumer.group_error()) is not None:
            self.fail(
                f"The group does not go on with this worker ({error}). If its address or REPLAYER_INSTANCE_ID changed "
                "or another process uses the same one, wait for the session time-out and start it again."
            )
        if (sentence := added(self.specs.values(), self.changelog, self.consumer.partition_count)) is not None:
            self.fail(sentence)
        for lane in self._assignment:
            lane.look()
        self.changelogs.look()

    # -- failure

    def fail(self, sentence: str, cause: BaseException | None = None) -> None:
        """End the process: graceful where that works, hard where it hangs. The first sentence stands."""
        if self.failure is None:
            self.failure = sentence
            log.critical("the worker ends", reason=sentence, cause=type(cause).__name__ if cause else None)
            end_hard_after(self.config.stop_grace_s)
            if self.stop_worker is not None:
                self.stop_worker()

    def _unreadable(self, table: str, partition: int, unreadable: StateUnreadable) -> None:
        if unreadable.damaged:
            self.store(table).set_aside(partition, "damaged")
            advice = "It was set aside; start the worker again: it is rebuilt from its changelog."
        else:
            advice = "Look at the disk, then start the worker again."
        self.fail(
            f"The database of partition {partition} of {table} cannot be read: {unreadable}. {advice}", unreadable
        )

    # -- what views may look at

    @property
    def ready(self) -> bool:
        """Assigned, recovered, not rebalancing."""
        return self._assignment.open and not self.app.rebalancing

    @property
    def assigned(self) -> bool:
        """A member of the group that has been told its partitions (there may be none for it)."""
        return (self.app.consumer_generation_id > 0 and not self.app.rebalancing) or self._assignment.open

    @property
    def rebalancing(self) -> bool:
        return bool(self.app.rebalancing)

    def rows(self, table: str, partition: int) -> Rows | None:
        """Rows of a partition this worker is the active owner of, else None. Never opens a database."""
        return self.reading(table, partition) if (table, partition) in self._assignment else None

    def reading(self, table: str, partition: int) -> Rows | None:
        """Rows of a partition whose database is open here, recovered or not."""
        db = self.store(table).open_partition(partition)
        if db is None:
            return None
        return RocksRows(db, lambda unreadable: self._unreadable(table, partition, unreadable))

    def active(self, table: str) -> set[int]:
        """Partitions of the table this worker is the active owner of."""
        return {lane.partition for lane in self._assignment if lane.table == table} if self._assignment.open else set()

    def owner(self, table: str, partition: int) -> str | None:
        """Base URL of the partition's active owner as of the last assignment."""
        changelog = self.changelog(table)
        distribution = self.app.assignor.changelog_distribution  # type: ignore[attr-defined] # not in its interface
        for url, topics in distribution.items():
            if partition in topics.get(changelog, ()):
                return str(url).rstrip("/")
        return None


def end_hard_after(seconds: float) -> None:
    """End the process with code 1 if it has not ended by then, whatever it waits for."""
    deadline = threading.Timer(seconds, os._exit, args=(1,))
    deadline.daemon = True
    deadline.start()
