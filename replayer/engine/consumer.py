"""The doors into Faust's consumer: whole batches to the agents; positions and commits are the engine's.

Faust 0.15.3 reads record by record, keeps offsets by gap tracking that loses events across rebalances, and seeks to
committed offsets. Here offsets are left to the lanes, and positions come from the tables (docs/decisions/003). Each
override has a test that fails when Faust changes under it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from aiokafka.errors import ConsumerStoppedError, KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from replayer.engine.fetching import BatchConsumerThread
from replayer.logs import spoken

if TYPE_CHECKING:
    from replayer.engine.engine import Engine


_ASK_S = 1.0


class BatchConsumer(driver.Consumer):
    """Hands whole batches to the agents, and every turn of the group to the engine."""

    _thread: BatchConsumerThread
    engine: Engine

    def __init__(self, transport: Any, *args: Any, **kwargs: Any) -> None:
        self.engine = transport.engine
        self._resumed = asyncio.Event()
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
        except (asyncio.CancelledError, ConsumerStoppedError):
            if not self.transport.app.should_stop:
                raise

    async def _wait_next_records(self, timeout: float) -> Any:
        """With every partition suspended Faust sleeps a second; here the first one resumed ends the wait."""
        if self.flow_active and not self._get_active_partitions():
            self._resumed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._resumed.wait(), timeout)
            if not self._get_active_partitions():
                return {}, set()
        return await super()._wait_next_records(timeout)

    async def perform_seek(self) -> None:
        """Where Faust would seek to committed offsets, the engine has seeks of its own under way."""
        await self.engine.opened()

    # What these raise, aiokafka would log and go on: a worker that holds its partitions and does nothing.

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        try:
            await self.engine.close_lanes()
            self._thread.forget(revoked)
            await super().on_partitions_revoked(revoked)
        except Exception as exc:
            self.engine.fail(f"Partitions could not be given up: {spoken(exc)}", exc)
            raise

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        try:
            # Predecessors are fenced before recovery reads the changelogs: nothing may be appended behind its back.
            await self.engine.take_over(generation_id)
            await super().on_partitions_assigned(assigned, generation_id)
        except Exception as exc:
            self.engine.fail(f"Partitions could not be taken over: {spoken(exc)}", exc)
            raise

    @Service.task
    async def _housekeep(self) -> None:
        await self.engine.housekeep()

    @Service.task
    async def _measure(self) -> None:
        await self.engine.measure()

    async def on_stop(self) -> None:
        await self.engine.stop()
        await super().on_stop()

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        super().resume_partitions(tps)
        self._resume(tps)

    def on_buffer_drop(self, tp: TP) -> None:
        super().on_buffer_drop(tp)
        self._resume([tp])

    def _resume(self, tps: Iterable[TP]) -> None:
        self._resumed.set()
        self._thread.resumed(self._get_active_partitions().intersection(tps))

    def suspend_fetching(self, tp: TP) -> None:
        self.on_buffer_full(tp)

    def resume_fetching(self, tp: TP) -> None:
        self.on_buffer_drop(tp)

    def reached(self, tp: TP) -> int | None:
        return self._thread.reached(tp)

    def join_again(self) -> None:
        """From the consumer thread."""
        self._thread.join_again()

    def partition_count(self, topic: str) -> int | None:
        return self._thread.partition_count(topic)

    def group_error(self) -> str | None:
        return self._thread.group_error()

    async def seek_to(self, partitions: Mapping[TP, int]) -> Mapping[TP, int]:
        return await self._thread.seek_to(partitions)

    async def committed(self, tps: Iterable[TP]) -> Mapping[TP, int | None]:
        return await self._thread.committed(tps)

    async def begins(self, tps: Collection[TP]) -> Mapping[TP, int]:
        """Where these logs begin; empty where the broker does not say at once."""
        return await self._edges("beginning_offsets", tps)

    async def ends(self, tps: Collection[TP]) -> Mapping[TP, int]:
        """Where these logs end (read_committed); empty where the broker does not say at once."""
        return await self._edges("end_offsets", tps)

    async def _edges(self, which: str, tps: Collection[TP]) -> Mapping[TP, int]:
        async def ask() -> Mapping[TP, int]:
            # Bounded: seeks and the question for membership wait for the same two places in the thread.
            async with asyncio.timeout(_ASK_S):
                found: Mapping[TP, int] = await getattr(self._thread._ensure_consumer(), which)(list(tps))
                return found

        try:
            answer: Mapping[TP, int] = await self._thread.call_thread(ask)
        except (KafkaError, TimeoutError):
            return {}
        return answer

    async def commit_offsets(self, offsets: Mapping[TP, int]) -> bool:
        """At-least-once only: exactly-once commits in its transactions."""
        return bool(await self._commit(offsets))

    async def is_member(self) -> bool | None:
        return await self._thread.is_member()


class BatchTransport(driver.Transport):
    """Faust's aiokafka transport with our consumer in it."""

    Consumer = BatchConsumer

    def __init__(self, url: Any, app: Any, engine: Engine) -> None:
        self.engine = engine
        super().__init__(url, app)
