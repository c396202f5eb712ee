"""The Faust app of one role, its tables and their lanes; the one owner of positions, producers and failure."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

import faust
import faust.stores
import structlog
from aiokafka.errors import IllegalStateError
from faust.types import TP
from mode import Service
from yarl import URL

from replayer.core.outcome import Rows
from replayer.engine.batch import Batch
from replayer.engine.config import EngineConfig, TableSpec
from replayer.engine.consumer import BatchConsumer, BatchTransport
from replayer.engine.lane import Lane
from replayer.engine.measures import Measures
from replayer.engine.memory import RocksMemory
from replayer.engine.rows import RocksRows
from replayer.engine.schema import BatchSchema
from replayer.engine.store import BatchStore
from replayer.engine.versions import check_versions

log = structlog.get_logger(__name__)

faust.stores.STORES.aliases["replayer"] = "replayer.engine.store:BatchStore"

#: Batches (not records) that recovery holds before writing: each is up to batch_max_records rows. Not 1: Faust then
#: goes on reading the changelogs of active partitions after recovery.
_RECOVERY_BATCHES = 8


class EngineApp(faust.App):  # type: ignore[misc]
    """A Faust app that closes its lanes before anything under them is taken away."""

    engine: Engine

    async def on_stop(self) -> None:
        await self.engine.close_lanes()
        await super().on_stop()


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
        self.app = self._create_app()
        self._tables = {spec.name: self._create_table(spec) for spec in tables}
        self._channels = {topic: self._create_channel(topic, spec) for spec in tables for topic in spec.sources}
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._by_source: dict[tuple[str, int], list[Lane]] = {}
        self._open = False
        self._recovered = False
        self._committable: dict[TP, int] = {}
        self._changing = asyncio.Lock()

    # -- making the Faust app

    def _create_app(self) -> EngineApp:
        config = self.config
        app = EngineApp(
            config.app_id,
            broker=[URL(f"kafka://{broker}") for broker in config.brokers],
            broker_credentials=config.credentials,
            broker_client_id=f"{config.app_id}-{config.instance_id}",
            consumer_group_instance_id=config.instance_id,
            store="replayer://",
            datadir=config.data_dir,
            processing_guarantee="at_least_once",  # Faust's own exactly-once stalls in recovery; ours is the lanes'
            topic_disable_leader=True,
            topic_allow_declare=False,  # topics are made by `replayer topics create`, from the catalogue
            stream_buffer_maxsize=64,  # batches
            stream_wait_empty=False,
            stream_recovery_delay=0.0,
            consumer_max_fetch_size=1 << 20,
            consumer_auto_offset_reset="earliest",
            broker_session_timeout=config.session_timeout_s,
            broker_heartbeat_interval=config.heartbeat_interval_s,
            broker_rebalance_timeout=config.rebalance_timeout_s,
            broker_request_timeout=max(40.0, config.session_timeout_s + 1),
            broker_max_poll_interval=max(600.0, config.session_timeout_s * 10),
            table_standby_replicas=config.standby_replicas,
            web_bind=config.web_host,
            web_host=config.web_host,
            web_port=config.web_port,
            canonical_url=config.web_url,
            autodiscover=False,
            **config.web,
        )
        app.engine = self
        app.transport = BatchTransport(app.conf.broker_consumer, app, self)
        app.on_rebalance_complete.connect(self._on_recovered, weak=False)
        return app

    def _create_table(self, spec: TableSpec) -> Any:
        return self.app.Table(
            spec.name,
            partitions=spec.partitions,
            key_type=bytes,
            value_type=bytes,
            schema=BatchSchema(),
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

    def store(self, table: str) -> BatchStore:
        data = self._tables[table].data
        return cast(BatchStore, getattr(data, "data", data))

    # -- arrivals

    def deliver(self, batch: Batch) -> None:
        """Hand a batch to its lane; never waits. A batch without an open lane is dropped and fetched again later."""
        for lane in self._by_source.get((batch.topic, batch.partition), ()):
            lane.deliver(batch)

    # -- assignment: take over, recover (Faust), open, close

    def _actives(self) -> set[TP]:
        return set(self.app.assignor.assigned_actives())

    async def take_over(self, generation: int) -> None:
        """Before recovery: fence the predecessors of every active partition and set unusable state aside."""
        async with self._changing:
            await self._close()
            actives = self._actives()
            lanes = []
            for spec in self.specs.values():
                changelog = self._tables[spec.name].changelog_topic.get_topic_name()
                for tp in actives:
                    if tp.topic == changelog:
                        lanes.append(Lane(self, spec, tp.partition, self.store(spec.name)))
            await asyncio.gather(*(lane.producer.start() for lane in lanes))
            for lane in lanes:
                self._lanes[lane.table, lane.partition] = lane
                for topic in self.specs[lane.table].sources:
                    self._by_source.setdefault((topic, lane.partition), []).append(lane)
            await self._set_aside_what_is_ahead()
            log.info("assigned", generation=generation, partitions=len(lanes))

    async def _set_aside_what_is_ahead(self) -> None:
        """Local state above its changelog's end belongs to a changelog that is gone: rebuild instead of dying."""
        for spec in self.specs.values():
            store = self.store(spec.name)
            changelog = self._tables[spec.name].changelog_topic.get_topic_name()
            mine = [
                tp
                for tp in self._actives() | set(self.app.assignor.assigned_standbys())
                if tp.topic == changelog
            ]  # fmt: skip
            if not mine:
                continue
            ends = await self.consumer.highwaters(*mine)
            for tp in mine:
                persisted = store.persisted_offset(tp)
                if persisted is not None and persisted >= (ends.get(tp) or 0):
                    store.set_aside(tp.partition, "ahead")

    async def _on_recovered(self, *_args: Any, **_kwargs: Any) -> None:
        self._recovered = True

    async def open_lanes(self) -> None:
        """When Faust has recovered: seek every source to where its table stands and let the lanes work.

        Called whenever Faust would seek to committed offsets; before recovery is complete that means nothing here.
        """
        async with self._changing:
            if self._open or not self._recovered:
                return
            seeks: dict[TP, int] = {}
            for opened in await asyncio.gather(*(lane.open() for lane in self._lanes.values())):
                seeks.update(opened)
            if seeks:
                await self._refuse_positions_beyond(seeks)
                try:
                    epochs = await self.consumer.seek_to(seeks)
                except IllegalStateError:
                    return  # revoked meanwhile: another assignment follows
                for tp, epoch in epochs.items():
                    for lane in self._by_source[tp.topic, tp.partition]:
                        lane.sought(tp, epoch)
            for lane in self._lanes.values():
                lane.start()
            self._open = True
            log.info("ready", partitions=len(self._lanes))

    async def _refuse_positions_beyond(self, seeks: Mapping[TP, int]) -> None:
        ends = await self.consumer.highwaters(*seeks)
        beyond = {tp: (offset, ends.get(tp) or 0) for tp, offset in seeks.items() if offset > (ends.get(tp) or 0)}
        if beyond:
            tp, (offset, end) = next(iter(beyond.items()))
            self.fail(
                f"Topic {tp.topic} partition {tp.partition} ends at offset {end}, below {offset} where the table stands: it "
                "was truncated or recreated. If that was on purpose, start under another REPLAYER_APP_ID, or delete the "
                "changelogs and the data directories of this one."
            )

    async def close_lanes(self) -> None:
        """Before a rebalance and at the end: every lane finishes its step."""
        async with self._changing:
            await self._close()

    async def _close(self) -> None:
        self._open = self._recovered = False
        self._by_source.clear()
        lanes, self._lanes = list(self._lanes.values()), {}
        grace = min(self.config.stop_grace_s / 2, self.config.rebalance_timeout_s / 2)
        await asyncio.gather(*(lane.close(grace) for lane in lanes))
        await self.commit()
        await asyncio.gather(*(lane.producer.stop() for lane in lanes))

    # -- at-least-once: offsets go last

    def committable(self, partition: int, offsets: Mapping[str, int]) -> None:
        if not self.config.exactly_once:
            self._committable.update({TP(topic, partition): offset for topic, offset in offsets.items()})

    async def commit(self) -> None:
        offsets, self._committable = self._committable, {}
        if offsets and not await self.consumer.commit_offsets(offsets):
            log.info("offsets were not committed: the group is rebalancing; the tables' positions stand")

    async def housekeep(self) -> None:
        """Runs beside the app: commits (at-least-once) and notes that idle state is still current."""
        since_touch = 0.0
        while True:
            await asyncio.sleep(self.config.commit_interval_s)
            if self._open:
                await self.commit()
            since_touch += self.config.commit_interval_s
            if self._open and since_touch >= 30.0:
                since_touch = 0.0
                for name in self.specs:
                    self.store(name).touch()

    def run_beside(self, start: Callable[[], Awaitable[None]], stop: Callable[[], Awaitable[None]]) -> None:
        """Have something start once the tables have recovered and stop with the app. Call before the app starts."""

        class Beside(Service):  # type: ignore[misc]
            async def on_start(self) -> None:
                await start()

            async def on_stop(self) -> None:
                await stop()

        self.app.service(Beside)

    # -- failure

    def fail(self, sentence: str, cause: BaseException | None = None) -> None:
        """End the process: graceful where that works, hard where it hangs. The first sentence stands."""
        if self.failure is None:
            self.failure = sentence
            log.critical("the worker ends", reason=sentence, cause=type(cause).__name__ if cause else None)
            deadline = threading.Timer(self.config.stop_grace_s, os._exit, args=(1,))
            deadline.daemon = True
            deadline.start()
            if self.stop_worker is not None:
                self.stop_worker()

    # -- what views may look at

    @property
    def ready(self) -> bool:
        """Assigned, recovered, not rebalancing."""
        return self._open and not self.app.rebalancing

    @property
    def assigned(self) -> bool:
        """A member of the group that has been told its partitions (there may be none for it)."""
        return self.app.consumer_generation_id > 0 and not self.app.rebalancing or self._open

    @property
    def rebalancing(self) -> bool:
        return bool(self.app.rebalancing)

    def rows(self, table: str, partition: int) -> Rows | None:
        """Rows of a partition this worker is the active owner of, else None. Never opens a database."""
        if not self._open or (table, partition) not in self._lanes:
            return None
        db = self.store(table).open_partition(partition)
        return RocksRows(db) if db is not None else None

    def active(self, table: str) -> set[int]:
        """Partitions of the table this worker is the active owner of."""
        return {partition for name, partition in self._lanes if name == table} if self._open else set()

    def owner(self, table: str, partition: int) -> str | None:
        """Base URL of the partition's active owner as of the last assignment."""
        changelog = self._tables[table].changelog_topic.get_topic_name()
        for url, topics in self.app.assignor.changelog_distribution.items():
            if partition in topics.get(changelog, ()):
                return str(url).rstrip("/")
        return None
