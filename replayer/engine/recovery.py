"""The doors into Faust's recovery, and changelogs applied in order whatever is lost on the way.

Faust counts a changelog record as recovered when it arrives, buffers it, clears that queue each time the flow resumes
and logs what its store raises. A lost batch would be a hole in the table. Here a batch is stored when it arrives, one
that begins beyond a hole is refused and its log is read again, and Faust's count is set back to what is stored.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import structlog
from aiokafka.errors import IllegalStateError
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery, ServiceStopped
from faust.types import TP

from replayer.core.errors import ReplayerError
from replayer.logs import spoken

if TYPE_CHECKING:
    from replayer.engine.engine import Engine

log = structlog.get_logger(__name__)


class ChangelogReplaced(ReplayerError):
    """A changelog holds less than what was read from it."""


class BatchRecovery(Recovery):
    """Faust's recovery, with its end and its failures told to the engine."""

    @property
    def engine(self) -> Engine:
        return cast("Engine", self.app.engine)  # type: ignore[attr-defined] # EngineApp

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        self.engine.recovered(generation_id)
        await super().on_recovery_completed(generation_id)

    async def _wait(self, coro: Any, timeout: Any = None) -> None:
        """Faust takes a time-out for a stop: recovery would end in silence and never begin again."""
        try:
            await super()._wait(coro, timeout)
        except ServiceStopped:
            if not self.should_stop:
                self.engine.fail(
                    f"The broker did not answer within {timeout} s during recovery; start the worker again."
                )
            raise


class BatchTables(TableManager):
    """Faust's table manager with our recovery in it."""

    async def on_start(self) -> None:
        # Faust sleeps a second first, for tables that are made late; ours are there before the app starts.
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()

    @property
    def recovery(self) -> Recovery:
        if self._recovery is None:
            self._recovery = BatchRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery


class Changelogs:
    """Stores what the changelogs of active and standby partitions bring, without a hole."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._rereads: dict[TP, int | None] = {}  # epoch of the seek that was made; None while it is being made
        self._looks: dict[TP, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def _recovery(self) -> Recovery:
        return cast(BatchTables, self._engine.app.tables).recovery

    def forget(self) -> None:
        """A new assignment: Faust seeks every changelog anew."""
        self._rereads.clear()
        self._looks.clear()

    async def on_event(self, event: Any) -> None:
        """Faust's `on_changelog_event` of every table."""
        try:
            self.arrived(event.message)
        except Exception as exc:
            # Faust would log it and go on with a hole in the table.
            self._engine.fail(f"Rows of the changelog could not be stored: {spoken(exc)}", exc)
            raise

    def arrived(self, message: Any) -> None:
        batch, tp = message.value, message.tp
        counts = self._counts(tp)
        if counts is None:
            return  # not ours any more
        if batch.beyond is not None:
            raise ChangelogReplaced(
                f"{tp.topic} partition {tp.partition} ends at {batch.beyond[1]}, below {batch.beyond[0]}, while it is "
                "read: was it recreated?"
            )
        store = self._engine.store_of_changelog(tp.topic)
        if store.apply(batch):
            self._rereads.pop(tp, None)
            return
        counts[tp] = store.applied(tp.partition)
        if tp not in self._rereads or self._made_before(tp, batch.epoch):
            self._read_again(tp, counts[tp] + 1)

    def look(self) -> None:
        """Once a second: read again where the last batch got lost, which nothing later gives away."""
        recovery = self._recovery
        waiting = set(recovery.standby_tps) | (set(recovery.active_tps) if recovery.in_recovery else set())
        looks: dict[TP, int] = {}
        for tp in waiting:
            reached = self._engine.consumer.reached(tp)
            if reached is None:
                continue
            applied = self._engine.store_of_changelog(tp.topic).applied(tp.partition)
            if reached <= applied + 1:
                continue
            if self._looks.get(tp) == reached:
                self._read_again(tp, applied + 1)
            else:
                looks[tp] = reached
        self._looks = looks

    def _counts(self, tp: TP) -> Any | None:
        recovery = self._recovery
        if tp in recovery.active_tps:
            return recovery.active_offsets
        return recovery.standby_offsets if tp in recovery.standby_tps else None

    def _made_before(self, tp: TP, epoch: int) -> bool:
        made = self._rereads[tp]
        return made is not None and epoch >= made

    def _read_again(self, tp: TP, offset: int) -> None:
        log.info("a changelog batch got lost on the way: reading again", topic=tp.topic, partition=tp.partition)
        self._rereads[tp] = None
        task = asyncio.create_task(self._seek(tp, offset))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _seek(self, tp: TP, offset: int) -> None:
        try:
            epochs = await self._engine.consumer.seek_to({tp: offset})
        except IllegalStateError:
            return  # revoked meanwhile
        if tp in self._rereads:
            self._rereads[tp] = epochs[tp]
