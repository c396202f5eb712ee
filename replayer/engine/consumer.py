"""The doors into Faust's consumer. Every private name of Faust and aiokafka that the engine relies on stands in this file.

Faust 0.15.3 reads record by record, keeps offsets by gap tracking that loses events across rebalances, and seeks to
committed offsets. Here a fetch becomes batches inside the consumer thread, offsets are left to the lanes, and positions
come from the tables (docs/decisions/003). Each override has a test that fails when Faust changes under it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka.errors import IllegalStateError, KafkaError, OffsetOutOfRangeError
from aiokafka.protocol.group import HeartbeatRequest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from replayer.engine.batch import Batch, split

if TYPE_CHECKING:
    from replayer.engine.engine import Engine

#: Heartbeat error codes that say whether a member counts: none, rebalance in progress | illegal generation, unknown
#: member, fenced instance (aiokafka 0.14 has no name for the last). Others say nothing.
_MEMBER = {0: True, 27: True, 22: False, 25: False, 82: False}

log = structlog.get_logger(__name__)


class BatchConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Fetches in Faust's consumer thread and answers in batches that know what they cover."""

    consumer: BatchConsumer

    def __post_init__(self) -> None:
        super().__post_init__()
        self._next: dict[TP, int] = {}  # where the next fetch begins; set by every seek and every fetch
        self._epochs: defaultdict[TP, int] = defaultdict(int)

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Sources may be transactional and changelogs are: an aborted record must never be seen. A lost position is an
        # event to be told, not to be papered over by a reset.
        consumer._isolation_level = "read_committed"
        consumer._auto_offset_reset = "none"
        consumer._fetch_max_wait_ms = 500
        return consumer

    async def _fetch_records(
        self, consumer: Any, active_partitions: set[TP], timeout: float | None = None, max_records: int | None = None
    ) -> Mapping[TP, list[Any]]:
        try:
            records = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        except OffsetOutOfRangeError as exc:
            return await self._out_of_range(consumer, exc.args[0])
        except KafkaError as exc:
            # Raised for a partition whose position is not set yet; every position is set by a seek before it is resumed.
            log.warning("fetch failed, it will be tried again", error=type(exc).__name__)
            await asyncio.sleep(0.1)
            return {}
        # From here to the return nothing is awaited: the positions read belong to the records read.
        subscription = consumer._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        if assignment is None:
            return {}
        batches: dict[TP, list[Batch]] = {}
        config = self.consumer.engine.config
        for tp in active_partitions:
            before = self._next.get(tp)
            state = assignment.state_value(tp) if tp in assignment.tps else None
            if before is None or state is None or not state.has_valid_position:
                continue
            found, after = records.get(tp, ()), state.position
            if found or after > before:
                self._next[tp] = after
                batches[tp] = split(
                    tp.topic,
                    tp.partition,
                    found,
                    before,
                    after,
                    self._epochs[tp],
                    config.batch_max_records,
                    config.batch_max_bytes,
                )
        return batches

    async def _out_of_range(self, consumer: Any, wanted: Mapping[Any, int]) -> Mapping[TP, list[Any]]:
        """The wanted offset is not in the log: below its start it expired, above its end the log was replaced."""
        answer: dict[TP, list[Any]] = {}
        starts = await consumer.beginning_offsets(list(wanted))
        ends = await consumer.end_offsets(list(wanted))
        for raw, offset in wanted.items():
            tp = TP(raw.topic, raw.partition)
            start, end = starts[raw], ends[raw]
            expected = self._next.get(tp, offset)
            if offset < start:
                try:
                    self._seek(consumer, tp, start)
                except IllegalStateError:
                    continue  # revoked meanwhile
                answer[tp] = [Batch(tp.topic, tp.partition, (), expected, start, self._epochs[tp], gap=(offset, start))]
            else:
                answer[tp] = [
                    Batch(tp.topic, tp.partition, (), expected, offset, self._epochs[tp], beyond=(offset, end))
                ]
        return answer

    def _seek(self, consumer: Any, tp: TP, offset: int) -> None:
        consumer.seek(tp, offset)
        self._next[tp] = offset
        self._epochs[tp] += 1

    async def _seek_wait(self, consumer: Any, partitions: Mapping[TP, int]) -> None:
        for tp, offset in partitions.items():
            self._seek(consumer, tp, offset)

    def forget(self, tps: Iterable[TP]) -> None:
        """Revoked: the next owner of these names must seek first."""
        for tp in tps:
            self._next.pop(tp, None)

    async def seek_to(self, partitions: Mapping[TP, int]) -> Mapping[TP, int]:
        """Seek from the main thread; answers with the epoch of each partition behind its seek.

        Raises:
            IllegalStateError: a partition is not assigned any more.
        """

        async def seek() -> Mapping[TP, int]:
            await self._seek_wait(self._ensure_consumer(), partitions)
            return {tp: self._epochs[tp] for tp in partitions}

        result: Mapping[TP, int] = await self.call_thread(seek)
        return result

    async def committed(self, tps: Iterable[TP]) -> Mapping[TP, int | None]:
        """The group's committed offsets, asked of the broker."""

        async def ask() -> Mapping[TP, int | None]:
            found = await self._ensure_consumer()._coordinator.fetch_committed_offsets(list(tps))
            offsets = {TP(tp.topic, tp.partition): committed.offset for tp, committed in found.items()}
            return {tp: offset if (offset := offsets.get(tp, -1)) >= 0 else None for tp in tps}

        result: Mapping[TP, int | None] = await self.call_thread(ask)
        return result

    async def is_member(self) -> bool | None:
        """Whether the broker still counts this consumer in, in its generation; None where it did not say.

        A zombie learns here that it is one.
        """

        async def ask() -> bool | None:
            coordinator = self._ensure_consumer()._coordinator
            request = HeartbeatRequest(coordinator.group_id, coordinator.generation, coordinator.member_id)
            try:
                response = await coordinator._send_req(request)
            except KafkaError:
                return None
            return _MEMBER.get(response.error_code)

        result: bool | None = await self.call_thread(ask)
        return result


class BatchConsumer(driver.Consumer):  # type: ignore[misc]
    """Hands whole batches to the agents; positions and commits belong to the engine."""

    _thread: BatchConsumerThread
    engine: Engine

    def __init__(self, transport: Any, *args: Any, **kwargs: Any) -> None:
        self.engine = transport.engine
        super().__init__(transport, *args, **kwargs)

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Deliver what arrives; drop what belongs to an older generation and remember nothing of it.

        Faust's own loop records the offset of a message it dropped in a rebalance after the bookkeeping was reset and
        then discards everything below it as read already: events are lost.
        """
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                arriving = self.getmany(timeout=1.0)
                await self.sleep(0)
                if self.should_stop:
                    continue
                async for _, message in arriving:
                    if message.generation_id == self.app.consumer_generation_id:
                        await self.wait_first(self.callback(message), self.suspend_flow.wait())
        except (asyncio.CancelledError, *self.consumer_stopped_errors):
            if not self.transport.app.should_stop:
                raise

    async def perform_seek(self) -> None:
        """Called by Faust when recovery is complete: open the lanes and seek to where the tables stand."""
        await self.engine.open_lanes()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await self.engine.close_lanes()
        self._thread.forget(revoked)
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        # Predecessors must be fenced before recovery reads the changelogs: nothing may be appended behind its back.
        await self.engine.take_over(generation_id)
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_stop(self) -> None:
        await self.engine.close_lanes()
        await super().on_stop()

    async def seek_to(self, partitions: Mapping[TP, int]) -> Mapping[TP, int]:
        return await self._thread.seek_to(partitions)

    async def committed(self, tps: Iterable[TP]) -> Mapping[TP, int | None]:
        return await self._thread.committed(tps)

    async def commit_offsets(self, offsets: Mapping[TP, int]) -> bool:
        """At-least-once only: exactly-once commits in its transactions."""
        return bool(await self._commit(offsets))

    async def is_member(self) -> bool | None:
        return await self._thread.is_member()

    def suspend_fetching(self, tp: TP) -> None:
        self.on_buffer_full(tp)

    def resume_fetching(self, tp: TP) -> None:
        self.on_buffer_drop(tp)


class BatchTransport(driver.Transport):  # type: ignore[misc]
    """Faust's aiokafka transport with our consumer in it."""

    Consumer = BatchConsumer

    def __init__(self, url: Any, app: Any, engine: Engine) -> None:
        self.engine = engine
        super().__init__(url, app)
