"""One lane per table partition: whatever its sources have waiting becomes one durable step after the other."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka.errors import IllegalStateError
from faust.types import TP

from replayer.core.gaps import Gap
from replayer.core.outcome import Folded, Folding
from replayer.engine.advice import AFTER_RECREATION
from replayer.engine.batch import Batch
from replayer.engine.config import TableSpec
from replayer.engine.folding import fold
from replayer.engine.inbox import Inbox, Verdict
from replayer.engine.outbox import GivenUp, LaneLost, Outbox
from replayer.engine.position import Position, position_key
from replayer.engine.rows import StateClosed, StateUnreadable
from replayer.engine.step import Step
from replayer.engine.store import PAUSE_S, BatchStore
from replayer.logs import spoken

if TYPE_CHECKING:
    from replayer.engine.engine import Engine

log = structlog.get_logger(__name__)

_CLOSED = "its database was closed under it; start the worker again"
_AHEAD_S = 0.2  # how often a lane that is held back looks whether it still is
_TURN_S = 0.005  # how long a lane folds before views, other lanes and answers of the broker have their turn


class Lane:
    """Folds one partition of a table.

    One step, in this order (docs/decisions/003):
      1. take what the sources have waiting, contiguous from the table's position, within the limits
      2. fold with pure code
      3. changelog rows (events, decisions, heads, positions), sends and source offsets: the broker's word for all
      4. rows and changelog offset in one RocksDB write
      5. move on
    """

    def __init__(self, engine: Engine, spec: TableSpec, partition: int, store: BatchStore) -> None:
        self._engine, self._spec, self.partition, self._store = engine, spec, partition, store
        self.table = spec.name
        self._config = engine.config
        self.outbox = Outbox(engine, spec.name, partition, spec.library)
        self._inboxes: dict[str, Inbox] = {}
        self._positions: dict[str, Position] = {}
        self._turn = 0
        self._lost: set[str] = set()  # sources whose last batch did not arrive
        self._database: Any = None  # what was recovered; another one under this name has not been
        self._stored: Any = None  # its rows
        self._work = asyncio.Event()
        self._begun = 0.0  # when the last step was begun, monotonic
        self._waits = False  # for who folds what it sends on
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    # -- life

    async def open(self) -> dict[TP, int]:
        """After recovery: read the positions; answers with the seeks to make. `sought` and `start` follow."""
        rows = self._engine.reading(self.table, self.partition)
        if rows is None:
            raise LaneLost("its database is not open after recovery; start the worker again")
        self._database, self._stored = self._store.open_partition(self.partition), rows
        for topic in self._spec.sources:
            value = rows.get(position_key(topic))
            position = Position.decode(value) if value is not None else None
            self._inboxes[topic] = Inbox(topic, position)
            if position is not None:
                self._positions[topic] = position
        for topic, offset in (await self.outbox.open(self._spec.sources)).items():
            if offset and topic not in self._positions:
                log.warning(
                    "offsets are committed but the table has none: its changelog was lost; folding anew",
                    topic=topic,
                    partition=self.partition,
                    committed=offset,
                )
        return {TP(topic, self.partition): inbox.seek_offset for topic, inbox in self._inboxes.items()}

    @property
    def next_offsets(self) -> dict[TP, int]:
        """Where the table stands, per source."""
        return {TP(topic, self.partition): inbox.position for topic, inbox in self._inboxes.items()}

    def sought(self, tp: TP, epoch: int) -> None:
        self._inboxes[tp.topic].sought(epoch)

    def start(self) -> None:
        """After the seeks: work, and let the owner of the table look at what is there already."""
        if self._spec.after_commit is not None:
            self._spec.after_commit(self.partition)
        self._task = asyncio.create_task(self._run(), name=f"lane {self._spec.name}[{self.partition}]")

    async def close(self, grace_s: float) -> None:
        """Finish the step at hand, within the grace; what is cut off is found again in the changelog."""
        self._closing = True
        self.outbox.close()
        self._work.set()
        if self._task is not None:
            done, _ = await asyncio.wait([self._task], timeout=grace_s)
            if not done:
                log.warning(
                    "a step did not end in time and is cut off", table=self._spec.name, partition=self.partition
                )
                self._task.cancel()
                await asyncio.wait([self._task], timeout=1.0)
            self._task = None
        self._inboxes.clear()

    # -- arrivals

    def deliver(self, batch: Batch) -> None:
        """Called by the agents, on the event loop. Never waits: a full inbox suspends fetching instead."""
        inbox = self._inboxes.get(batch.topic)
        if inbox is None or self._closing:
            return  # not open: it will be fetched again
        inbox.put(batch)
        if inbox.batches >= self._config.buffer_batches or inbox.bytes >= self._config.batch_max_bytes:
            # Each time: Faust resumes partitions for reasons of its own.
            inbox.suspended = True
            self._engine.consumer.suspend_fetching(TP(batch.topic, self.partition))
        self._work.set()

    def look(self) -> None:
        """Once a second: notice a batch that got lost with none behind it."""
        for topic, inbox in self._inboxes.items():
            reached = self._engine.consumer.reached(TP(topic, self.partition))
            if reached is not None and inbox.overdue(reached):
                self._lost.add(topic)
                self._work.set()

    # -- work

    async def _run(self) -> None:
        try:
            while not self._closing:
                await self._work.wait()
                if self._ran_ahead():  # what comes meanwhile suspends fetching
                    await asyncio.sleep(_AHEAD_S)
                    continue
                await self._paced()
                self._work.clear()
                if not self._closing and (step := await self._take()) is not None:
                    self._begun = time.monotonic()
                    await self._do(step)
        except asyncio.CancelledError:
            raise
        except (GivenUp, StateUnreadable):
            pass  # the engine knows already
        except StateClosed as exc:
            self._engine.fail(f"Partition {self.partition} of {self._spec.name}: {_CLOSED}", exc)
        except LaneLost as exc:
            self._engine.fail(f"Partition {self.partition} of {self._spec.name}: {exc}", exc)
        except Exception as exc:  # noqa: BLE001 - a lane that ends in silence is a partition that stands still
            self._engine.fail(f"Partition {self.partition} of {self._spec.name} stopped: {spoken(exc)}", exc)

    def _ran_ahead(self) -> bool:
        """Whether it has to wait for who folds what it sends on; told once each time it begins and ends."""
        waits = self._engine.ahead.too_far(self._spec.feeds)
        if waits != self._waits:
            self._waits = waits
            log.warning(
                "sends nothing on until more of it is folded" if waits else "sends on again",
                table=self._spec.name,
                partition=self.partition,
                most=self._engine.ahead.most,
            )
        return waits

    async def _paced(self) -> None:
        """Let a little come together, unless a step's worth is there."""
        waiting = sum(inbox.records for inbox in self._inboxes.values())
        early = self._begun + self._spec.pace_s - time.monotonic()
        if early > 0 and waiting < self._config.batch_max_records:
            await asyncio.sleep(early)

    async def _take(self) -> Step | None:
        step, room, space = Step(), self._config.batch_max_records, self._config.batch_max_bytes
        for topic, inbox in self._in_turn():
            while (verdict := inbox.look()) is Verdict.READY and space > 0:
                piece = inbox.take(room)
                if piece is None:
                    break
                room -= len(piece.records)
                space -= piece.size
                step.add(piece)
            if verdict is Verdict.EMPTY and topic in self._lost:
                verdict = Verdict.SEEK
            self._lost.discard(topic)
            if verdict is Verdict.SEEK and not step.pieces:
                await self._seek_back(inbox)
            elif verdict is Verdict.FOREIGN:
                raise LaneLost(
                    f"topic {topic} is not the log this table was made from: {inbox.why}. {AFTER_RECREATION}"
                )
            half = inbox.batches <= self._config.buffer_batches // 2
            if inbox.suspended and half and inbox.bytes <= self._config.batch_max_bytes // 2:
                inbox.suspended = False
                self._engine.consumer.resume_fetching(TP(topic, self.partition))
        if any(inbox.batches for inbox in self._inboxes.values()):
            self._work.set()
        return step if step.worth_storing else None

    def _in_turn(self) -> list[tuple[str, Inbox]]:
        """The sources, another one first in every step: one that is far behind must not keep the others waiting."""
        sources = list(self._inboxes.items())
        self._turn = (self._turn + 1) % max(len(sources), 1)
        return sources[self._turn :] + sources[: self._turn]

    async def _seek_back(self, inbox: Inbox) -> None:
        tp = TP(inbox.topic, self.partition)
        self._engine.metrics.sought_back(self._spec.name)
        log.info(
            "batches got lost on the way: seeking back to the table's position",
            topic=tp.topic,
            partition=tp.partition,
            position=inbox.position,
        )
        try:
            epochs = await self._engine.consumer.seek_to({tp: inbox.seek_offset})
        except IllegalStateError:  # revoked: this lane is about to be closed
            inbox.clear()
            return
        inbox.sought(epochs[tp])

    async def _do(self, step: Step) -> None:
        self._check_database()
        records, now_ms = step.records, int(time.time() * 1000)
        folded, fold_s = await _in_turns(
            fold(self._spec, self._stored, records, self.partition, now_ms, self._config.max_row_bytes)
        )
        self._check_database()
        positions = step.positions(self._positions)
        rows = folded.rows
        for topic, (start, end) in step.gaps:
            rows.append(Gap(topic, start, end, now_ms).row())
            log.error(
                "a stretch of the log had expired before it was folded",
                topic=topic,
                partition=self.partition,
                start=start,
                end=end,
            )
        rows.extend((position_key(topic), position.encode()) for topic, position in positions.items())
        folded_at = time.perf_counter()
        last = await self.outbox.publish(rows, folded.sends if self._spec.buries else (), step.offsets)
        durable_at = time.perf_counter()
        self._check_database()
        if last is not None:
            for _ in self._store.writing(self.partition, folded.stored, last):
                await asyncio.sleep(PAUSE_S)
                self._check_database()
        self._positions.update(positions)
        self._engine.committable(self.partition, step.offsets)
        self._engine.metrics.step(
            self._spec.name, self.partition, step.offsets, len(records), len(rows), folded, step.gaps,
            fold_s, durable_at - folded_at, time.perf_counter() - durable_at,
        )  # fmt: skip
        if self._spec.after_commit is not None:
            self._spec.after_commit(self.partition)

    def _check_database(self) -> None:
        """After every turn of others: a view may have met damage meanwhile, and the database was set aside.

        Whatever stands open in its place has not been recovered: a step written there would pass for the whole table.
        What is durable already is found in the changelog by the next start. Raises StateClosed.
        """
        if self._store.open_partition(self.partition) is not self._database:
            raise StateClosed(_CLOSED)


async def _in_turns(folding: Folding) -> tuple[Folded, float]:
    """The fold's answer and the seconds it took, without those of whoever had a turn between."""
    spent, began = 0.0, time.perf_counter()
    while True:
        try:
            next(folding)
        except StopIteration as ended:
            return ended.value, spent + time.perf_counter() - began
        if (taken := time.perf_counter() - began) >= _TURN_S:
            spent += taken
            await asyncio.sleep(0)
            began = time.perf_counter()
