"""A producer that knows of every record it sent whether it was acked, failed, or nobody can say."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTopicError, MessageSizeTooLargeError, RecordListTooLargeError

from replayer.core.faults import Emission


class Fate(Enum):
    """What the broker said of a record."""

    ACKED = "acked"
    FAILED = "failed"  # refused: it is in no log
    UNKNOWN = "unknown"  # not answered for: it may be in the log, once
    GONE = "gone"  # acked, in a log that was deleted since


_REFUSED = (InvalidTopicError, MessageSizeTooLargeError, RecordListTooLargeError)


@dataclass(slots=True)
class Sent:
    """One record and what became of it. `offset` where it was acked."""

    emission: Emission
    partition: int
    fate: Fate = Fate.UNKNOWN
    offset: int | None = None

    @property
    def at(self) -> tuple[str, int, int] | None:
        return None if self.offset is None else (self.emission.topic, self.partition, self.offset)


class Feed:
    """Sends a workload in a thread of its own, no more than has been released and no faster than the rate.

    `route` says into which partition a record goes. `transaction`: so many records at a time in a transaction of their
    own; every fifth is aborted, and its records sent again in the next. None: idempotent, without transactions.
    """

    def __init__(
        self,
        broker: str,
        emissions: Iterator[Emission],
        route: Callable[[Emission], int],
        rate: float,
        transaction: int | None = None,
    ) -> None:
        self.sent: list[Sent] = []
        self.route = route
        self._broker, self._emissions, self._rate = broker, emissions, rate
        self._transaction = transaction
        self._released, self._ended = 0, threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def release(self, count: int) -> None:
        """Let it send up to so many records in all."""
        self._released = max(self._released, count)

    @property
    def acked(self) -> int:
        return sum(sent.fate is Fate.ACKED for sent in self.sent)

    def reach(self, count: int, timeout_s: float = 120.0) -> None:
        """Release so many and wait until the producer has taken them up."""
        self.release(count)
        deadline = time.monotonic() + timeout_s
        while len(self.sent) < count and self._thread.is_alive():
            assert time.monotonic() < deadline, f"{len(self.sent)} of {count} records sent in {timeout_s:.0f} s"
            time.sleep(0.02)
        self._raise()

    def settle(self, timeout_s: float = 60.0) -> None:
        """Wait until the broker has answered for every record that was sent."""
        deadline = time.monotonic() + timeout_s
        while any(sent.fate is Fate.UNKNOWN for sent in list(self.sent)):
            assert time.monotonic() < deadline, f"no answer for all records in {timeout_s:.0f} s"
            time.sleep(0.05)

    def finish(self, timeout_s: float = 180.0) -> None:
        """Send the rest and have an answer for every record."""
        self.release(2**62)
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), f"{self.acked} of {len(self.sent)} acked after {timeout_s:.0f} s"
        self._raise()

    def stop(self) -> None:
        """Give up."""
        self._ended.set()
        self._thread.join(30)

    def write(self, path: Path) -> None:
        """A line for each record as it was sent: what the broker said, where it went, what it was. No content."""
        with path.open("w") as log:
            for sent in self.sent:
                emission, offset = sent.emission, "-" if sent.offset is None else sent.offset
                log.write(
                    f"{sent.fate.value} {emission.topic} {sent.partition} {offset} {emission.kind} "
                    f"{emission.event_id or '-'}\n"
                )

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._feed())
        except BaseException as failure:  # noqa: BLE001 - raised again where somebody waits for it
            self._failure = failure

    async def _feed(self) -> None:
        if self._transaction is None:
            await self._one_by_one()
        else:
            await self._by_transactions(self._transaction)

    def _producer(self, **more: Any) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            bootstrap_servers=self._broker,
            acks="all",
            linger_ms=5,
            max_request_size=2 << 20,
            request_timeout_ms=180_000,  # longer than any broker is away
            retry_backoff_ms=50,
            metadata_max_age_ms=1_000,  # partitions may be added
            **more,
        )

    async def _one_by_one(self) -> None:
        answers = []
        async with self._producer(enable_idempotence=True) as producer:
            async for sent in self._due():
                answers.append(await self._send(producer, sent))
            await asyncio.gather(*answers, return_exceptions=True)

    async def _by_transactions(self, size: int) -> None:
        number, batch = 0, list[Sent]()
        async with self._producer(transactional_id=f"feed-{id(self)}") as producer:
            async for sent in self._due():
                batch.append(sent)
                if len(batch) == size:
                    number += 1
                    if number % 5 == 0:
                        await self._transact(producer, batch, commit=False)
                    await self._transact(producer, batch, commit=True)
                    batch = []
            if batch:
                await self._transact(producer, batch, commit=True)

    async def _transact(self, producer: AIOKafkaProducer, batch: list[Sent], *, commit: bool) -> None:
        await producer.begin_transaction()
        await asyncio.gather(*[await self._send(producer, sent) for sent in batch])
        if commit:
            await producer.commit_transaction()
        else:
            await producer.abort_transaction()

    async def _due(self) -> Any:
        """The records, each when it may be sent."""
        due = time.monotonic()
        for emission in self._emissions:
            while len(self.sent) >= self._released:
                if self._ended.is_set():
                    return
                await asyncio.sleep(0.01)
                due = time.monotonic()
            due += 1 / self._rate
            if (early := due - time.monotonic()) > 0.005:
                await asyncio.sleep(early)
            sent = Sent(emission, self.route(emission))
            self.sent.append(sent)
            yield sent

    async def _send(self, producer: AIOKafkaProducer, sent: Sent) -> asyncio.Future[Any]:
        emission = sent.emission
        while sent.partition not in await producer.partitions_for(emission.topic):  # noqa: ASYNC110 - aiokafka has no event for it
            await asyncio.sleep(0.05)  # just added
        answer: asyncio.Future[Any] = await producer.send(emission.topic, emission.value, emission.key, sent.partition)

        def answered(answer: asyncio.Future[Any]) -> None:
            if answer.cancelled():
                return
            if (error := answer.exception()) is None:
                sent.fate, sent.offset = Fate.ACKED, answer.result().offset
            elif isinstance(error, _REFUSED):
                sent.fate = Fate.FAILED

        answer.add_done_callback(answered)
        return answer
