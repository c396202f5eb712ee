"""What a lane sends, until the broker's word for it is known."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import structlog
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from faust.types import TP

from replayer.core.errors import ReplayerError
from replayer.core.outcome import Send
from replayer.engine.producer import LaneProducer
from replayer.native.library import Library

if TYPE_CHECKING:
    from replayer.engine.engine import Engine

log = structlog.get_logger(__name__)

_BACKOFF_S = 0.1
_ANSWER_S = 15.0
_PATIENCE_S = 2.0  # of a closing lane, with a broker that does not say whether this worker still counts


class LaneLost(ReplayerError):
    """This worker is not the owner of the partition any more; the text says how it was noticed."""


_WRITTEN_BY_ANOTHER = "another worker has written to it; this one ends and recovers when started again"


class GivenUp(ReplayerError):
    """The lane is closing and the broker is away: the step is found again, or not, by whoever opens next."""


#: What trying again does not mend.
_HOPELESS = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    InvalidTopicError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)


class Outbox:
    """Publishes the steps of one table partition and finds out what became of those that failed."""

    def __init__(self, engine: Engine, table: str, partition: int, library: Library | None = None) -> None:
        self._engine, self._table, self._partition = engine, table, partition
        self.producer = LaneProducer(engine.config, table, partition, library)
        self._committed: dict[str, int | None] = {}
        self._next_row: int | None = None  # at least once: the changelog offset of the row that comes next
        self._closing_at: float | None = None

    def close(self) -> None:
        """From now on a broker that is away is not waited for."""
        self._closing_at = time.monotonic()

    async def open(self, topics: Sequence[str]) -> Mapping[str, int | None]:
        """Ask where the group stands; answers with the committed offset of every source, None for none."""
        found = await self._engine.consumer.committed([TP(topic, self._partition) for topic in topics])
        self._committed = {tp.topic: offset for tp, offset in found.items()}
        if not self._engine.config.exactly_once:
            applied = self._engine.store(self._table).applied(self._partition)
            (begin,) = (await self._engine.consumer.earliest_offsets(self._changelog)).values()
            self._next_row = max(applied + 1, begin)  # the log may be empty, whatever once was in it
        return self._committed

    @property
    def _changelog(self) -> TP:
        return TP(self._engine.changelog(self._table), self._partition)

    async def publish(
        self, rows: Sequence[tuple[bytes, bytes | None]], sends: Sequence[Send], offsets: Mapping[str, int]
    ) -> int | None:
        """Have the broker's word for rows, sends and source offsets; answers with the last row's changelog offset.

        Tries again for as long as it takes. Raises LaneLost where another worker owns the partition by now or Kafka
        refuses for good, GivenUp, and what is neither: a bug.
        """
        attempt = 0
        while True:
            try:
                # aiokafka's sender may wait for ever, without a word. Past its time-out a transaction is lost anyway.
                async with asyncio.timeout(self._engine.config.transaction_timeout_s):
                    last = await self.producer.publish(rows, sends, offsets)
            except _HOPELESS as exc:
                raise LaneLost(
                    f"Kafka refuses what it writes ({type(exc).__name__}): check the rights of this user and "
                    "max.message.bytes of the changelogs, dead-letters and replay topics (`replayer topics check`)"
                ) from exc
            except (KafkaError, OSError, TimeoutError) as exc:
                # Of whatever kind: what matters is only whether the step is durable.
                attempt += 1
                self._engine.metrics.transaction_failed(self._table)
                log.warning(
                    "a step was not confirmed",
                    table=self._table,
                    partition=self._partition,
                    attempt=attempt,
                    error=_name(exc),
                )
                if not await self._settled(offsets, min(_BACKOFF_S * 2**attempt, 5.0)):
                    continue
                last = await self._changelog_end()
            if last is not None:
                self._refuse_others(last, len(rows), attempt)
            self._committed.update(offsets)
            return last

    def _refuse_others(self, last: int, rows: int, failed: int) -> None:
        """At least once nobody is fenced, so another worker's rows may lie before these, and this table lacks them.

        It would lack them for good: the changelog offset stored with the step says that they are in it. Of `failed`
        attempts the rows may be there, too. Raises LaneLost.
        """
        expected, self._next_row = self._next_row, last + 1
        if self._engine.config.exactly_once or expected is None:
            return
        if not 0 <= last + 1 - rows - expected <= failed * rows:
            raise LaneLost(_WRITTEN_BY_ANOTHER)

    async def _settled(self, offsets: Mapping[str, int], backoff_s: float) -> bool:
        """After a failure: is this worker still the owner, and did the transaction commit?

        ProducerFenced does not prove a zombie (a transaction past its own time-out raises it too), so the broker is
        asked whether this member is still in its generation. A new producer then settles the open transaction either
        way, and the offsets committed with it tell which. Anything else there means another owner wrote: end.
        """
        now: dict[str, int | None] | None = None
        while now is None:
            await self.producer.stop()
            await self._still_a_member(backoff_s)
            await self.producer.start()
            # Brokers before 4.0 complete a transaction's offsets a moment after its markers: not asked at once.
            await asyncio.sleep(backoff_s)
            if not self._engine.config.exactly_once:
                return False
            now = await self._committed_now(offsets)
        if now == offsets:
            return True
        if all(now[topic] == self._committed.get(topic) for topic in offsets):
            return False
        raise LaneLost(_WRITTEN_BY_ANOTHER)

    async def _still_a_member(self, backoff_s: float) -> None:
        """Return once the broker counts this worker in. Raises LaneLost, GivenUp."""
        while (member := await self._engine.consumer.is_member()) is not True:
            if member is False:
                raise LaneLost("the group has gone on without this worker (it was stalled or cut off); start it again")
            if self._closing_at is not None and time.monotonic() - self._closing_at > _PATIENCE_S:
                raise GivenUp
            await asyncio.sleep(backoff_s)  # the broker did not say: it is away

    async def _committed_now(self, topics: Iterable[str]) -> dict[str, int | None] | None:
        """The group's offsets as the broker has them; None where it does not say in time."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                found = await self._engine.consumer.committed([TP(topic, self._partition) for topic in topics])
        except (KafkaError, TimeoutError):
            return None
        return {tp.topic: offset for tp, offset in found.items()}

    async def _changelog_end(self) -> int:
        """The last changelog offset: this lane is the only writer, and its transaction is known to have committed."""
        (end,) = (await self._engine.consumer.highwaters(self._changelog)).values()
        return int(end) - 1


def _name(exc: BaseException) -> str:
    cause = exc.__cause__
    return type(exc).__name__ if cause is None else f"{type(exc).__name__} from {type(cause).__name__}"
