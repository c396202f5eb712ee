"""The doors into Faust's consumer thread: a fetch becomes batches there, and every seek is counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka.errors import IllegalStateError, KafkaError, OffsetOutOfRangeError
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from replayer.engine.batch import Batch, split
from replayer.recordbatches import install

if TYPE_CHECKING:
    from replayer.engine.consumer import BatchConsumer

#: Heartbeat error codes that say whether a member counts: none, rebalance in progress | illegal generation, unknown
#: member, fenced instance (aiokafka 0.14 has no name for the last). Others say nothing.
_MEMBER = {0: True, 27: True, 22: False, 25: False, 82: False}

#: How long the broker may take to say whether this is a member.
_ANSWER_S = 15.0

log = structlog.get_logger(__name__)


#: aiokafka has one fetch under way per broker. One that asks only for partitions without news waits out its whole time,
#: and those with records, whose lanes have meanwhile caught up, wait with it: half of a busy worker's time. So a worker
#: with news asks briefly, and one without asks rarely.
_BUSY_WAIT_MS = 20
_IDLE_WAIT_MS = 500
_BUSY_FOR_S = 2.0


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """Fetches in Faust's consumer thread and answers in batches that know what they cover."""

    consumer: BatchConsumer
    _busy_until = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._next: dict[TP, int] = {}  # where the next fetch begins; set by every seek and every fetch
        self._epochs: defaultdict[TP, int] = defaultdict(int)
        self._wanted: set[TP] = set()  # what the fetch under way may answer with; of this thread alone

    def _create_worker_consumer(self, transport: Any) -> Any:
        install(self.consumer.engine.library)
        consumer = super()._create_worker_consumer(transport)
        # Sources may be transactional and changelogs are: an aborted record must never be seen. A lost position is an
        # event to be told, not to be papered over by a reset.
        consumer._isolation_level = "read_committed"
        consumer._auto_offset_reset = "none"
        consumer._fetch_max_wait_ms = _IDLE_WAIT_MS
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        self._ensure_consumer()._fetcher._prefetch_backoff = _BUSY_WAIT_MS / 1000

    async def _fetch_records(
        self, consumer: Any, active_partitions: set[TP], timeout: float | None = None, max_records: int | None = None
    ) -> Mapping[TP, list[Any]]:
        # A copy: the main thread changes the set while this waits. Emptied, it would mean "every partition" to
        # aiokafka, and the records of those nobody asked for would be lost, for their position moves on.
        wanted = self._wanted = set(active_partitions)
        if not wanted:
            await asyncio.sleep(0.01)
            return {}
        try:
            records = await super()._fetch_records(consumer, wanted, timeout, max_records)
        except OffsetOutOfRangeError as exc:
            return await self._out_of_range(consumer, exc.args[0])
        except KafkaError as exc:
            # Raised for a partition whose position is not set yet; each is set by a seek before it is resumed. Raised
            # also in the middle of a batch that is damaged, when records of other partitions are lost with it.
            log.warning("fetch failed, it will be tried again", error=type(exc).__name__)
            self._back_to_last_batch(consumer, wanted)
            await asyncio.sleep(0.1)
            return {}
        # From here to the return nothing is awaited: the positions read belong to the records read.
        batches: dict[TP, list[Batch]] = {}
        config = self.consumer.engine.config
        for tp, before, after in self._passed(consumer, wanted):
            found = records.get(tp, ())
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
        self._pace(consumer, bool(batches))
        return batches

    def resumed(self, tps: Iterable[TP]) -> None:
        """Have the fetch under way answer with these, too. From any thread.

        It would else wait for the partitions it began with, up to a second, with these records in its hands.
        """
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody fetches any more
            self.thread_loop.call_soon_threadsafe(self._want, tuple(tps))

    def _want(self, tps: Iterable[TP]) -> None:
        self._wanted.update(tps)
        if self._consumer is not None:
            fetcher = self._consumer._fetcher
            for waiter in tuple(fetcher._fetch_waiters):
                fetcher._notify(waiter)

    def _back_to_last_batch(self, consumer: Any, wanted: Iterable[TP]) -> None:
        """What a failed fetch has passed without handing it on is fetched again."""
        for tp, before, after in self._passed(consumer, wanted):
            if after != before:
                self._seek(consumer, tp, before)

    def _passed(self, consumer: Any, wanted: Iterable[TP]) -> list[tuple[TP, int, int]]:
        """Of each wanted partition that is ours and was sought: where the last batch ended, where the consumer is."""
        subscription = consumer._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        if assignment is None:
            return []
        passed = []
        for tp in wanted:
            before = self._next.get(tp)
            state = assignment.state_value(tp) if tp in assignment.tps else None
            if before is not None and state is not None and state.has_valid_position:
                passed.append((tp, before, state.position))
        return passed

    def _pace(self, consumer: Any, news: bool) -> None:
        now = monotonic()
        if news:
            self._busy_until = now + _BUSY_FOR_S
        busy = now < self._busy_until
        consumer._fetcher._fetch_max_wait_ms = _BUSY_WAIT_MS if busy else _IDLE_WAIT_MS

    async def _out_of_range(self, consumer: Any, wanted: Mapping[Any, int]) -> Mapping[TP, list[Any]]:
        """The wanted offset is not in the log: below its start it expired, above its end the log was replaced."""
        answer: dict[TP, list[Any]] = {}
        epochs = {raw: self._epochs[TP(raw.topic, raw.partition)] for raw in wanted}
        try:
            starts = await consumer.beginning_offsets(list(wanted))
            ends = await consumer.end_offsets(list(wanted))
        except KafkaError:
            return {}  # the next fetch fails alike and asks again
        for raw, offset in wanted.items():
            tp = TP(raw.topic, raw.partition)
            start, end, before = starts[raw], ends[raw], self._next.get(tp)
            if before != offset or self._epochs[tp] != epochs[raw]:
                continue  # sought or revoked meanwhile
            if offset < start:
                try:
                    self._seek(consumer, tp, start)
                except IllegalStateError:
                    continue  # revoked meanwhile
                answer[tp] = [Batch(tp.topic, tp.partition, (), offset, start, self._epochs[tp], gap=(offset, start))]
            elif offset > end:
                answer[tp] = [Batch(tp.topic, tp.partition, (), offset, offset, epochs[raw], beyond=(offset, end))]
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

    def reached(self, tp: TP) -> int | None:
        """Up to which offset fetching has come; None before the first seek. From any thread."""
        return self._next.get(tp)

    def partition_count(self, topic: str) -> int | None:
        """How many partitions a topic has, as the broker said last; None where it is not known. From any thread."""
        if self._consumer is None:
            return None
        return len(self._consumer._client.cluster.partitions_for_topic(topic) or ()) or None

    def group_error(self) -> str | None:
        """Why membership in the group has ended for good, None while it has not. From any thread.

        aiokafka waits for `getmany` to raise it; Faust fetches past that, so nobody would ever hear of it.
        """
        coordinator = self._consumer._coordinator if self._consumer is not None else None
        if coordinator is None:
            return None
        error = coordinator._pending_exception
        task = coordinator._coordination_task
        if error is None and task.done() and not task.cancelled():
            error = task.exception()
        return f"{type(error).__name__}: {error}" if error is not None else None

    def join_again(self) -> None:
        """Have the group assign anew. From this thread."""
        self._ensure_consumer()._coordinator.request_rejoin()

    async def on_thread_stop(self) -> None:
        try:
            await super().on_thread_stop()
        except asyncio.CancelledError:
            # aiokafka's fetcher passes its own cancellation on when the broker is away, and the process would wait for
            # this thread until it is ended hard.
            if self._consumer is not None:
                await self._consumer._client.close()

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
            if coordinator.member_id == JoinGroupRequest.UNKNOWN_MEMBER_ID:
                return False  # told so already, and about to join anew
            request = HeartbeatRequest(coordinator.group_id, coordinator.generation, coordinator.member_id)
            try:
                async with asyncio.timeout(_ANSWER_S):
                    response = await coordinator._send_req(request)
            except (KafkaError, TimeoutError):
                return None
            return _MEMBER.get(response.error_code)

        result: bool | None = await self.call_thread(ask)
        return result
