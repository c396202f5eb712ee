"""Appends records to the log and has the broker's word for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    RecordListTooLargeError,
    UnknownError,
)

from replayer import clients
from replayer.core.outcome import Send
from replayer.kafka.errors import PublishError
from replayer.kafka.metadata import describe
from replayer.kafka.opening import opened

# UnknownError: aiokafka has no name for INVALID_RECORD (no key, on a compacted topic).
_FOR_ITS_COMPANY = (MessageSizeTooLargeError, OutOfOrderSequenceNumber, RecordListTooLargeError, UnknownError)
_FRAMING_BYTES = 128 << 10  # key, headers and context beside the largest value
_CLOSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a record stands in the log. `timestamp` in ms since the epoch, as the broker has it."""

    topic: str
    partition: int
    offset: int
    timestamp: int


class Publisher:
    """An idempotent producer (acks=all): what a retry appends again, the broker drops. Use as `async with`.

    Args:
        brokers: host:port of the brokers to start from.
        client: security arguments, see `connection.client_arguments`.
        max_record_bytes: largest value accepted.
        linger_ms: how long to wait for more records for the same request.
    """

    def __init__(
        self,
        brokers: Sequence[str],
        client: Mapping[str, Any] | None = None,
        *,
        max_record_bytes: int = 1 << 20,
        linger_ms: int = 0,
        client_id: str = "replayer-publisher",
    ) -> None:
        self._brokers = list(brokers)
        self._arguments: dict[str, Any] = {
            "bootstrap_servers": self._brokers,
            "client_id": client_id,
            "enable_idempotence": True,
            "linger_ms": linger_ms,
            "max_batch_size": 256 << 10,
            "max_request_size": max_record_bytes + _FRAMING_BYTES,
            **(client or {}),
        }
        self._producer: Any = None
        self._known: set[str] = set()
        self._sent: list[asyncio.Future[Any]] = []
        self._acknowledged = 0

    @property
    def answered(self) -> int:
        """How many records of the `publish` under way have the broker's word, good or bad."""
        return sum(future.done() for future in self._sent)

    @property
    def acknowledged(self) -> int:
        """How many records the broker has accepted, of all there ever were. Grows while `publish` is under way."""
        return self._acknowledged + sum(map(_accepted, self._sent))

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def _start(self) -> None:
        self._producer = AIOKafkaProducer(**self._arguments)
        await opened(self._producer, self._producer.stop, self._brokers)

    async def _stop(self) -> None:
        """Bounded: only a publish that was cut off leaves something to flush, and aiokafka would try for ever."""
        await clients.stop(self._producer, _CLOSE_S)

    async def publish(self, records: Sequence[Send]) -> list[Appended | PublishError]:
        """Append the records; records of one partition keep their order. One answer for each record, in their order.

        A record without a partition goes where its key's murmur2 says (`partitioner.partition_of`); without a key,
        anywhere. A topic that does not exist is not made.
        One record's failure does not keep the others back; nothing is raised for it.
        """
        self._acknowledged, self._sent = self.acknowledged, []
        await self._learn({record.topic for record in records} - self._known)
        pending = [await self._send(index, record) for index, record in enumerate(records)]
        waiting = [entry for entry in pending if isinstance(entry, asyncio.Future)]
        if waiting:
            await asyncio.wait(waiting)
        settled = [_settled(index, records[index], entry) for index, entry in enumerate(pending)]
        refused = [i for i, entry in enumerate(pending) if isinstance(entry, asyncio.Future) and entry.exception()]
        if refused:
            await self._one_by_one(records, settled, refused)
        return settled

    async def publish_all(self, records: Sequence[Send]) -> list[Appended]:
        """The same where one failure is a failure: raises the first PublishError, after all have settled."""
        settled = await self.publish(records)
        for entry in settled:
            if isinstance(entry, PublishError):
                raise entry
        return [entry for entry in settled if isinstance(entry, Appended)]

    async def _learn(self, topics: set[str]) -> None:
        # The producer itself would wait for its whole time-out, or have the cluster make the topic with its defaults.
        self._known |= (await describe(self._producer.client, topics)).keys()

    async def _one_by_one(
        self, records: Sequence[Send], settled: list[Appended | PublishError], refused: Sequence[int]
    ) -> None:
        """Send again, alone, what the broker refused perhaps for its company only.

        It refuses a batch whole, for one record. And aiokafka has then spent the batch's sequence numbers: what follows
        it in the partition is refused as out of order until a new producer counts anew.
        """
        fresh = False
        for index in refused:
            entry = settled[index]
            if isinstance(entry, PublishError) and isinstance(entry.__cause__, _FOR_ITS_COMPANY):
                if not fresh:
                    await self._renew()
                sent = await self._send(index, records[index])
                if isinstance(sent, asyncio.Future):
                    await asyncio.wait([sent])
                settled[index] = _settled(index, records[index], sent)
                fresh = isinstance(settled[index], Appended)
        if not fresh:
            await self._renew()

    async def _renew(self) -> None:
        await self._stop()
        await self._start()

    async def _send(self, index: int, record: Send) -> asyncio.Future[Any] | PublishError:
        if record.topic not in self._known:
            return PublishError(
                index, record.topic, "it does not exist (`replayer topics create` makes replayer's own)"
            )
        try:
            future: asyncio.Future[Any] = await self._producer.send(
                record.topic,
                key=record.key,
                value=record.value,
                headers=list(record.headers),
                partition=record.partition,
            )
        except KafkaError as error:  # too large for a request: refused before it is sent
            return _refused(index, record, error)
        self._sent.append(future)
        return future


def _accepted(future: asyncio.Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _settled(index: int, record: Send, entry: asyncio.Future[Any] | PublishError) -> Appended | PublishError:
    if isinstance(entry, PublishError):
        return entry
    error = entry.exception()
    if error is None:
        where = entry.result()
        return Appended(where.topic, where.partition, where.offset, where.timestamp)
    if isinstance(error, KafkaError):
        return _refused(index, record, error)
    raise error


def _refused(index: int, record: Send, error: KafkaError) -> PublishError:
    refused = PublishError(index, record.topic, type(error).__name__)  # its text may hold what was sent
    refused.__cause__ = error
    return refused
