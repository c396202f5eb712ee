"""The lanes of the partitions this worker owns now: taken over, opened when recovered, closed before they are lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import structlog
from aiokafka.errors import IllegalStateError, KafkaError
from faust.types import TP

from replayer.core.errors import ReplayerError
from replayer.engine.advice import AFTER_RECREATION
from replayer.engine.batch import Batch
from replayer.engine.lane import Lane
from replayer.logs import spoken

if TYPE_CHECKING:
    from replayer.engine.engine import Engine

log = structlog.get_logger(__name__)

_COMMIT_S = 2.0


class CannotGoOn(ReplayerError):
    """What was found makes work impossible; the text says what to do."""


class Assignment:
    """One generation after the other: `take_over`, Faust's recovery, `recovered`, work, `close`.

    Everything that changes the set of lanes holds one lock. Faust may begin a generation while the one before is still
    being recovered or opened: what comes late from an older one changes nothing.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.open = False
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._by_source: dict[tuple[str, int], list[Lane]] = {}
        self._generation: int | None = None
        self._changelog_ends: dict[TP, int] = {}  # of active partitions, once their predecessors were fenced
        self._starting: asyncio.Future[list[None]] | None = None
        self._opening: asyncio.Task[None] | None = None
        self._stopping = False
        self._changing = asyncio.Lock()

    def __contains__(self, lane: tuple[str, int]) -> bool:
        return self.open and lane in self._lanes

    def __iter__(self) -> Iterator[Lane]:
        return iter(list(self._lanes.values()))

    def deliver(self, batch: Batch) -> None:
        """A batch without an open lane is dropped: it is fetched again when there is one."""
        for lane in self._by_source.get((batch.topic, batch.partition), ()):
            lane.deliver(batch)

    async def take_over(self, generation: int) -> None:
        """Before recovery: fence the predecessors of every active partition and set unusable state aside."""
        await self._abandon_opening()
        async with self._changing:
            await self._close()
            self._generation = None
            if self._stopping:
                return
            engine = self._engine
            lanes = [
                Lane(engine, spec, tp.partition, engine.store(spec.name))
                for spec in engine.specs.values()
                for tp in engine.actives()
                if tp.topic == engine.changelog(spec.name)
            ]
            if not await self._start_producers(lanes):
                return
            for lane in lanes:
                self._lanes[lane.table, lane.partition] = lane
                for topic in engine.specs[lane.table].sources:
                    self._by_source.setdefault((topic, lane.partition), []).append(lane)
            engine.changelogs.forget()
            await self._look_at_state()
            self._generation = generation
            engine.metrics.assigned(generation)
            log.info("assigned", generation=generation, partitions=len(lanes))

    async def _start_producers(self, lanes: list[Lane]) -> bool:
        """False when the worker was told to stop: producers wait for the broker as long as it takes."""
        self._starting = asyncio.gather(*(lane.outbox.producer.start() for lane in lanes))
        try:
            await self._starting
        except asyncio.CancelledError:
            await asyncio.gather(*(lane.outbox.producer.stop() for lane in lanes))
            if self._stopping:
                return False
            raise
        finally:
            self._starting = None
        return True

    async def _look_at_state(self) -> None:
        """Note how far recovery must come. State above its changelog's end belongs to one that is gone: rebuild it."""
        engine = self._engine
        self._changelog_ends = {}
        for name in engine.specs:
            mine = [tp for tp in engine.actives() | engine.standbys() if tp.topic == engine.changelog(name)]
            ends = await engine.consumer.highwaters(*mine) if mine else {}
            for tp in mine:
                if engine.store(name).applied(tp.partition) >= ends[tp]:
                    engine.store(name).set_aside(tp.partition, "ahead")
            self._changelog_ends.update({tp: ends[tp] for tp in mine if tp in engine.actives()})

    def recovered(self, generation: int) -> None:
        """Faust has recovered the tables as they were assigned in this generation: open the lanes."""
        if generation == self._generation and not self._stopping and self._opening is None:
            self._opening = asyncio.create_task(self._open(generation), name="opening")

    async def opened(self) -> None:
        """Wait for lanes that are being opened; a caller that gives up stops nothing."""
        if self._opening is not None:
            await asyncio.wait([self._opening])

    async def _open(self, generation: int) -> None:
        """Seek every source to where its table stands and let the lanes work."""
        try:
            async with self._changing:
                if generation != self._generation or self.open:
                    return
                await self._refuse_short_recovery()
                seeks: dict[TP, int] = {}
                for found in await asyncio.gather(*(lane.open() for lane in self)):
                    for tp, offset in found.items():
                        seeks[tp] = min(offset, seeks.get(tp, offset))
                if seeks:
                    await self._refuse_positions_beyond()
                    for tp, epoch in (await self._engine.consumer.seek_to(seeks)).items():
                        for lane in self._by_source[tp.topic, tp.partition]:
                            lane.sought(tp, epoch)
                for lane in self:
                    lane.start()
                self.open = True
                log.info("ready", partitions=len(self._lanes))
        except IllegalStateError:
            log.info("partitions were revoked before they were opened; another assignment follows")
        except Exception as exc:  # noqa: BLE001 - nobody awaits this task: its failure is the worker's
            self._engine.fail(f"Partitions could not be opened: {spoken(exc)}", exc)

    async def _refuse_short_recovery(self) -> None:
        short = {
            tp: end
            for tp, end in self._changelog_ends.items()
            if self._engine.store_of_changelog(tp.topic).applied(tp.partition) < end - 1
        }
        starts = await self._engine.consumer.earliest_offsets(*short) if short else {}
        for tp, end in short.items():
            if starts[tp] < end:  # else it is empty, whatever once was in it
                raise CannotGoOn(
                    f"recovery of {tp.topic} partition {tp.partition} ended before offset {end}; start the worker again"
                )

    async def _refuse_positions_beyond(self) -> None:
        positions: dict[TP, int] = {}
        for lane in self:
            for tp, offset in lane.next_offsets.items():
                positions[tp] = max(offset, positions.get(tp, 0))
        ends = await self._engine.consumer.highwaters(*positions)
        for tp, offset in positions.items():
            if offset > ends[tp]:
                raise CannotGoOn(
                    f"topic {tp.topic} partition {tp.partition} ends at offset {ends[tp]}, below {offset} where the "
                    f"table stands: it was truncated or recreated. {AFTER_RECREATION}"
                )

    async def close(self) -> None:
        """Before a rebalance and at the end: every lane finishes its step."""
        await self._abandon_opening()
        async with self._changing:
            self._generation = None
            await self._close()

    async def stop(self) -> None:
        """For good."""
        self._stopping = True
        if self._starting is not None:
            self._starting.cancel()
        await self.close()

    async def _abandon_opening(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None and not opening.done():
            opening.cancel()
            await asyncio.wait([opening])

    async def _close(self) -> None:
        self.open = False
        self._by_source.clear()
        lanes, self._lanes = list(self._lanes.values()), {}
        config = self._engine.config
        grace = min(config.stop_grace_s / 3, config.rebalance_timeout_s / 2)
        await asyncio.gather(*(lane.close(grace) for lane in lanes))
        with contextlib.suppress(TimeoutError, KafkaError):  # positions stand; offsets are for others to see
            await asyncio.wait_for(self._engine.commit(), _COMMIT_S)
        await asyncio.gather(*(lane.outbox.producer.stop() for lane in lanes))
