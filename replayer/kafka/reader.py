"""Reads an explicit piece of the log: from given offsets to given ends, without a group, disturbing nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from replayer.kafka.errors import PositionExpired, TopicError
from replayer.kafka.metadata import describe
from replayer.kafka.opening import opened
from replayer.recordbatches import install


@dataclass(frozen=True, slots=True)
class Batch:
    """What one fetch brought of one partition: it covers the offsets [before, after).

    `records` may be fewer than the offsets, or none: commit markers, aborted transactions and compaction leave holes.
    """

    partition: TopicPartition
    before: int
    after: int
    records: Sequence[ConsumerRecord]


class LogReader:
    """Committed records of explicit ranges of offsets. Use as `async with`; read one set of ranges at a time.

    Args:
        brokers: host:port of the brokers to start from.
        client: security arguments, see `connection.client_arguments`.
        max_records: most records in one batch.
        max_fetch_bytes: buffered per partition, more only where one record batch is larger.
        isolation: `read_uncommitted` also gives records of transactions that are open or were aborted.
    """

    def __init__(
        self,
        brokers: Sequence[str],
        client: Mapping[str, Any] | None = None,
        *,
        max_records: int = 1000,
        max_fetch_bytes: int = 1 << 20,
        isolation: Literal["read_committed", "read_uncommitted"] = "read_committed",
        client_id: str = "replayer-reader",
    ) -> None:
        self._brokers, self._max_records = list(brokers), max_records
        self._arguments: dict[str, Any] = {
            "bootstrap_servers": self._brokers,
            "client_id": client_id,
            "isolation_level": isolation,
            "auto_offset_reset": "none",
            "enable_auto_commit": False,
            "max_partition_fetch_bytes": max_fetch_bytes,
            **(client or {}),
        }
        self._consumer: Any = None

    async def __aenter__(self) -> Self:
        install()
        self._consumer = AIOKafkaConsumer(**self._arguments)
        await opened(self._consumer, self._consumer.stop, self._brokers)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def read(self, ranges: Mapping[TopicPartition, tuple[int, int]]) -> AsyncIterator[Batch]:
        """Every committed record in [start, end) of each partition; a partition's batches join without a gap.

        Ends when each partition's position has reached its end, be the last offsets records or markers. An end beyond
        an open transaction is reached when that transaction ends; one beyond the log, when the log has grown there.

        Raises PositionExpired where the log does not hold a start, TopicError for a partition that does not exist,
        ValueError where an end lies before its start.
        """
        wrong = [f"{tp.topic}[{tp.partition}]" for tp, (start, end) in ranges.items() if end < start or start < 0]
        if wrong:
            raise ValueError(f"the range ends before it starts: {', '.join(wrong)}")
        positions = {tp: start for tp, (start, end) in ranges.items() if start < end}
        consumer = self._consumer
        await self._hold_partitions(positions)
        consumer.assign(list(positions))
        for tp, start in positions.items():
            consumer.seek(tp, start)
        await self._hold_starts(positions)
        while positions:
            try:
                got = await consumer.getmany(*positions, timeout_ms=100, max_records=self._max_records)
            except OffsetOutOfRangeError as error:
                raise await self._expired(error) from error
            # Of all partitions, not only of those that brought records: a fetch of markers alone moves a position too.
            for tp, before in list(positions.items()):
                end = ranges[tp][1]
                after = min(await consumer.position(tp), end)
                records = [record for record in got.get(tp, ()) if record.offset < end]
                if after >= end:
                    consumer.pause(tp)
                    del positions[tp]
                else:
                    positions[tp] = after
                if after > before:
                    yield Batch(tp, before, after, records)

    async def _hold_partitions(self, partitions: Collection[TopicPartition]) -> None:
        described = await describe(self._consumer._client, {tp.topic for tp in partitions})
        for tp in partitions:
            if tp.topic not in described or tp.partition >= described[tp.topic].partitions:
                raise TopicError(f"{tp.topic}[{tp.partition}] does not exist: run `replayer topics check`.")

    async def _hold_starts(self, starts: Mapping[TopicPartition, int]) -> None:
        """Ask before reading: a start above the log's end is no error to a broker until something is fetched there."""
        begins = await self._consumer.beginning_offsets(list(starts))
        for tp, start in starts.items():
            if start < begins[tp]:
                raise await self._position_expired(tp, start)

    async def _expired(self, error: OffsetOutOfRangeError) -> PositionExpired:
        (tp, offset), *_ = error.args[0].items()
        return await self._position_expired(tp, offset)

    async def _position_expired(self, tp: TopicPartition, offset: int) -> PositionExpired:
        begins = await self._consumer.beginning_offsets([tp])
        ends = await self._consumer.end_offsets([tp])
        return PositionExpired(tp.topic, tp.partition, offset, begins[tp], ends[tp])
