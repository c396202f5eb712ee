"""One lane per table partition: whatever its sources have waiting becomes one durable step after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from faust.types import TP

from replayer.core.outcome import Folded, Record, Send
from replayer.engine.batch import Batch
from replayer.engine.config import TableSpec
from replayer.engine.inbox import Inbox, Piece, Verdict
from replayer.engine.position import Gap, Position, fingerprint, position_key
from replayer.engine.producer import LaneProducer
from replayer.engine.rows import Overlay, RocksRows

if TYPE_CHECKING:
    from replayer.engine.engine import Engine
    from replayer.engine.store import BatchStore

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Step:
    """What is folded, made durable and stored together: pieces of the sources, each up to its new position."""

    pieces: list[Piece] = field(default_factory=list)

    @property
    def records(self) -> list[Record]:
        return [record for piece in self.pieces for record in piece.records]

    @property
    def offsets(self) -> dict[str, int]:
        return {piece.topic: piece.after for piece in self.pieces}

    @property
    def gaps(self) -> list[tuple[str, tuple[int, int]]]:
        return [(piece.topic, piece.gap) for piece in self.pieces if piece.gap is not None]

    @property
    def worth_storing(self) -> bool:
        """Markers alone move the position in memory; they become durable with the next record."""
        return any(piece.records or piece.gap for piece in self.pieces)


class LaneLost(Exception):
    """This worker is not the owner of the partition any more; the text says how it was noticed."""


class Lane:
    """Folds one partition of a table.

    One step, in this order (design, section 4, promise 2):
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
        self.producer = LaneProducer(engine.config, spec.name, partition)
        self._inboxes: dict[str, Inbox] = {}
        self._positions: dict[str, Position] = {}
        self._committed: dict[str, int | None] = {}
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    # -- life

    async def open(self) -> dict[TP, int]:
        """After recovery: read the positions; answers with the seeks to make. `sought` starts the work."""
        db = self._store.open_partition(self.partition)
        if db is None:
            return {}
        rows = RocksRows(db)
        tps = [TP(topic, self.partition) for topic in self._spec.sources]
        for topic in self._spec.sources:
            value = rows.get(position_key(topic))
            position = Position.decode(value) if value is not None else None
            self._inboxes[topic] = Inbox(topic, position)
            if position is not None:
                self._positions[topic] = position
        self._committed = {tp.topic: offset for tp, offset in (await self._engine.consumer.committed(tps)).items()}
        for topic, offset in self._committed.items():
            if offset and offset > self._inboxes[topic].position and topic not in self._positions:
                log.warning(
                    "offsets are committed but the table has none: its changelog was lost; folding again from the log's start",
                    topic=topic,
                    partition=self.partition,
                    committed=offset,
                )
        return {TP(topic, self.partition): inbox.seek_offset for topic, inbox in self._inboxes.items()}

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
        if inbox.batches >= self._config.buffer_batches and not inbox.suspended:
            inbox.suspended = True
            self._engine.consumer.suspend_fetching(TP(batch.topic, self.partition))
        self._work.set()

    # -- work

    async def _run(self) -> None:
        try:
            while not self._closing:
                await self._work.wait()
                self._work.clear()
                while not self._closing and (step := await self._take()) is not None:
                    await self._do(step)
        except asyncio.CancelledError:
            raise
        except LaneLost as exc:
            self._engine.fail(f"Partition {self.partition} of {self._spec.name}: {exc}", exc)
        except Exception as exc:  # a lane that ends in silence would be a partition that stands still
            self._engine.fail(f"Partition {self.partition} of {self._spec.name} stopped: {exc}", exc)

    async def _take(self) -> Step | None:
        step, room, space = Step(), self._config.batch_max_records, self._config.batch_max_bytes
        for topic, inbox in self._inboxes.items():
            while (verdict := inbox.look()) is Verdict.READY and space > 0:
                piece = inbox.take(room)
                if piece is None:
                    break
                room -= len(piece.records)
                space -= piece.size
                if step.pieces and step.pieces[-1].topic == topic and piece.gap is None:
                    last = step.pieces[-1]
                    step.pieces[-1] = Piece(topic, [*last.records, *piece.records], piece.after, last.gap)
                else:
                    step.pieces.append(piece)
            if verdict is Verdict.SEEK and not step.pieces:
                await self._seek_back(inbox)
            elif verdict is Verdict.FOREIGN:
                raise LaneLost(
                    f"topic {topic} is not the log this table was made from: {inbox.why}. If the topic was recreated on "
                    f"purpose, stop the workers and delete the changelog of {self._spec.name}, the group's offsets and the "
                    "data directories, or start under another REPLAYER_APP_ID."
                )
            if inbox.suspended and inbox.batches <= self._config.buffer_batches // 2:
                inbox.suspended = False
                self._engine.consumer.resume_fetching(TP(topic, self.partition))
        if any(inbox.batches for inbox in self._inboxes.values()):
            self._work.set()
        return step if step.worth_storing else None

    async def _seek_back(self, inbox: Inbox) -> None:
        tp = TP(inbox.topic, self.partition)
        self._engine.metrics.sought_back(self._spec.name)
        log.info(
            "a batch above the table's position: seeking back",
            topic=tp.topic,
            partition=tp.partition,
            position=inbox.position,
        )
        epochs = await self._engine.consumer.seek_to({tp: inbox.seek_offset})
        inbox.sought(epochs[tp])

    async def _do(self, step: Step) -> None:
        started = time.perf_counter()
        db = self._store.open_partition(self.partition)
        if db is None:
            raise LaneLost("its database was closed under it")
        records, now_ms = step.records, int(time.time() * 1000)
        folded = self._fold(RocksRows(db), records, now_ms)
        positions = self._new_positions(step)
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
        last = await self._publish(rows, folded.sends, step.offsets)
        durable_at = time.perf_counter()
        if last is not None:
            self._store.write(self.partition, rows, last)
        self._positions.update(positions)
        self._committed.update(step.offsets)
        self._engine.committable(self.partition, step.offsets)
        self._engine.metrics.step(
            self._spec.name, self.partition, step.offsets, len(records), len(rows), folded, step.gaps,
            folded_at - started, durable_at - folded_at, time.perf_counter() - durable_at,
        )  # fmt: skip
        if self._spec.after_commit is not None:
            self._spec.after_commit(self.partition)

    def _fold(self, rows: RocksRows, records: Sequence[Record], now_ms: int) -> Folded:
        try:
            return self._spec.fold(rows, records, self.partition, now_ms)
        except (
            Exception
        ) as exc:  # a fold is pure: find the one record it fails on; it is a dead letter, the rest is not
            log.error(
                "a fold raised; folding its records one by one",
                table=self._spec.name,
                partition=self.partition,
                error=type(exc).__name__,
            )
        overlay, total = Overlay(rows), Folded()
        for record in records:
            try:
                one = self._spec.fold(overlay, [record], self.partition, now_ms)
            except (
                Exception
            ) as exc:  # whatever it is, it must not stop the partition: the record and its reason are kept
                one = Folded(sends=[self._spec.poison(record, exc, now_ms)], counts={"dead_letter": 1})
            overlay.write(one.rows)
            total.rows.extend(one.rows)
            total.sends.extend(one.sends)
            for name, count in one.counts.items():
                total.counts[name] = total.counts.get(name, 0) + count
        return total

    def _new_positions(self, step: Step) -> dict[str, Position]:
        positions: dict[str, Position] = {}
        for piece in step.pieces:
            if piece.records:
                last = piece.records[-1]
                positions[piece.topic] = Position(piece.after, last.offset, fingerprint(last))
            elif piece.gap is not None:
                positions[piece.topic] = Position.behind_gap(piece.after)
            elif (known := positions.get(piece.topic) or self._positions.get(piece.topic)) is not None:
                positions[piece.topic] = Position(piece.after, known.last, known.fingerprint)
        return positions

    # -- the broker's word

    async def _publish(
        self, rows: Sequence[tuple[bytes, bytes | None]], sends: Sequence[Send], offsets: dict[str, int]
    ) -> int | None:
        attempt = 0
        while True:
            try:
                return await self.producer.publish(rows, sends, offsets)
            except asyncio.CancelledError:
                raise
            except Exception as exc:  # of whatever kind: what matters is only whether the step is durable
                attempt += 1
                self._engine.metrics.transaction_failed(self._spec.name)
                log.warning(
                    "a step was not confirmed",
                    table=self._spec.name,
                    partition=self.partition,
                    attempt=attempt,
                    error=_name(exc),
                )
                settled = await self._settle(offsets, min(0.1 * 2**attempt, 5.0))
                if settled:
                    return await self._changelog_end()

    async def _settle(self, offsets: dict[str, int], backoff_s: float) -> bool:
        """After a failure: is this worker still the owner, and did the transaction commit?

        ProducerFenced does not prove a zombie (a transaction past its own time-out raises it too), so the broker is
        asked whether this member is still in its generation. A new producer then settles the open transaction either
        way, and the offsets committed with it tell which. Anything else there means another owner wrote: end.
        """
        await self.producer.stop()
        while (member := await self._engine.consumer.is_member()) is not True:
            if member is False:
                raise LaneLost("the group has gone on without this worker (it was stalled or cut off); start it again")
            await asyncio.sleep(backoff_s)  # the broker did not say: it is away
        await self.producer.start()
        if not self._config.exactly_once:
            await asyncio.sleep(backoff_s)
            return False
        committed = await self._engine.consumer.committed([TP(topic, self.partition) for topic in offsets])
        now = {tp.topic: offset for tp, offset in committed.items()}
        if now == offsets:
            return True
        if all(now[topic] == self._committed.get(topic) for topic in offsets):
            await asyncio.sleep(backoff_s)
            return False
        raise LaneLost("another worker has written to it; this one ends and recovers when started again")

    async def _changelog_end(self) -> int:
        """The last changelog offset: this lane is the only writer, and its transaction is known to have committed."""
        tp = TP(f"{self._config.app_id}-{self._spec.name}-changelog", self.partition)
        ends = await self._engine.consumer.highwaters(tp)
        return int(ends[tp]) - 1


def _name(exc: BaseException) -> str:
    cause = exc.__cause__
    return type(exc).__name__ if cause is None else f"{type(exc).__name__} from {type(cause).__name__}"
