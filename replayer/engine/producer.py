"""Makes one step of a lane durable: rows, sends and source offsets, in one transaction in exactly-once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder

from replayer import clients
from replayer.core.outcome import Send
from replayer.engine.config import EngineConfig
from replayer.engine.framed import FramedBatch
from replayer.native.library import Library, NotDone

log = structlog.get_logger(__name__)

#: One record batch on the wire; below the brokers' default message.max.bytes with room for framing.
_BATCH_BYTES = 900_000
_DEAD_LETTER_ROOM = 64 << 10
_STOP_S = 2.0

#: Brokers refuse a transaction's offsets while the markers of the one before are being written to the group's own log:
#: one in a hundred, each of which waited for aiokafka's 100 ms.
_RETRY_MS = 20


class LaneProducer:
    """The producer of one table partition.

    Exactly once: transactional, `transactional.id` = app, table, partition; starting it aborts what a predecessor left
    open and fences it. At least once: idempotent, acks=all.
    """

    def __init__(self, config: EngineConfig, table: str, partition: int, library: Library | None = None) -> None:
        self._config, self._table, self._partition, self._library = config, table, partition, library
        self._changelog = f"{config.app_id}-{table}-changelog"
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect; in exactly-once also fence. Retries until the broker answers; cancel to give up."""
        config = self._config
        arguments: dict[str, Any] = dict(config.client)
        if config.exactly_once:
            arguments["transactional_id"] = f"{config.app_id}-{self._table}-{self._partition}"
            arguments["transaction_timeout_ms"] = int(config.transaction_timeout_s * 1000)
        else:
            arguments["enable_idempotence"] = True
        backoff = 0.1
        while True:
            producer = AIOKafkaProducer(
                bootstrap_servers=list(config.brokers),
                client_id=f"{config.app_id}-{self._table}-{self._partition}",
                acks="all",
                max_batch_size=_BATCH_BYTES,
                retry_backoff_ms=_RETRY_MS,
                max_request_size=config.max_row_bytes + _DEAD_LETTER_ROOM + _BATCH_BYTES,
                **arguments,
            )
            try:
                # The predecessor's transaction may take its time-out to end; aiokafka, without a word, for ever.
                async with asyncio.timeout(config.transaction_timeout_s * 2):
                    await clients.start(producer, partial(clients.stop, producer, _STOP_S))
            except (KafkaError, TimeoutError) as exc:
                log.warning(
                    "producer not started; trying again",
                    table=self._table,
                    partition=self._partition,
                    error=type(exc).__name__,
                )
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, 5.0)
            else:
                self._producer = producer
                return

    async def stop(self) -> None:
        """Close within a bound: a broker that is gone must not hold a shutdown."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await clients.stop(producer, _STOP_S)

    async def publish(
        self, rows: Sequence[tuple[bytes, bytes | None]], sends: Sequence[Send], offsets: Mapping[str, int]
    ) -> int | None:
        """Append rows to the changelog in their order, produce the sends, and have the broker's word for all of it.

        Exactly once: all of it and the source `offsets` (topic to next offset) in one transaction that has committed
        when this returns. At least once: the sends are acknowledged before a row is appended, so they may come again
        but are never missing; the offsets are not committed here.
        Answers with the changelog offset of the last row, None without rows.

        Raises:
            Exception: whatever the producer raised; whether the transaction committed is then unknown.
        """
        producer = self._producer
        if producer is None:
            raise RuntimeError("the lane's producer is not started")
        if not self._config.exactly_once:
            return await self._append(producer, rows, sends)
        await producer.begin_transaction()
        sources = {TopicPartition(topic, self._partition): offset for topic, offset in offsets.items()}
        # Side by side: the offsets are two questions to the coordinator, a third of a small transaction's time.
        appending = asyncio.ensure_future(self._append(producer, rows, sends))
        offering = asyncio.ensure_future(producer.send_offsets_to_transaction(sources, self._config.app_id))
        # Both have come to their end before anything is done about either.
        await asyncio.gather(appending, offering, return_exceptions=True)
        offering.result()
        last = appending.result()
        await producer.commit_transaction()
        return last

    async def _append(
        self, producer: AIOKafkaProducer, rows: Sequence[tuple[bytes, bytes | None]], sends: Sequence[Send]
    ) -> int | None:
        sent = [await self._send(producer, send) for send in sends]
        if not self._config.exactly_once:
            # The rows say what has been folded, and nobody folds it again: what it sent must be there by then.
            await asyncio.gather(*sent)
        changelog: list[asyncio.Future[Any]] = []
        last_batch = 0  # rows in it
        for batch in self._batches(producer, rows):
            last_batch = batch.record_count()
            changelog.append(await producer.send_batch(batch, self._changelog, partition=self._partition))
        results = await asyncio.gather(*changelog, *sent)
        return int(results[len(changelog) - 1].offset) + last_batch - 1 if changelog else None

    def _batches(
        self, producer: AIOKafkaProducer, rows: Sequence[tuple[bytes, bytes | None]]
    ) -> Iterator[FramedBatch | BatchBuilder]:
        """The rows in as few record batches as hold them: `fold` has bounded each, and one alone always has room."""
        if self._library is not None:
            with contextlib.suppress(NotDone):
                for records, count in self._library.framed(rows, _BATCH_BYTES):
                    yield FramedBatch(records, count, transactional=self._config.exactly_once)
                return
        batch = producer.create_batch()
        for key, value in rows:
            if batch.append(key=key, value=value, timestamp=None) is None:
                yield batch
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None)
        if batch.record_count():
            batch.close()
            yield batch

    async def _send(self, producer: AIOKafkaProducer, send: Send) -> asyncio.Future[Any]:
        if send.key is not None or send.value is not None:
            sent: asyncio.Future[Any] = await producer.send(
                send.topic, value=send.value, key=send.key, partition=send.partition, headers=list(send.headers)
            )
            return sent
        # aiokafka's `send` asserts that there is one of them. Kafka takes a record without both, so somebody sends it.
        batch = producer.create_batch()
        batch.append(key=None, value=None, timestamp=None, headers=list(send.headers))
        batch.close()
        partition = send.partition if send.partition is not None else min(await producer.partitions_for(send.topic))
        sent = await producer.send_batch(batch, send.topic, partition=partition)
        return sent
