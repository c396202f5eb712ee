"""Reads the stretches of a replay and turns what is selected into results. Knows nothing of transactions."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import cast

import structlog
from aiokafka import TopicPartition

from replayer.core.outcome import Record
from replayer.core.selection import Selection
from replayer.core.stretch import Stretch
from replayer.investigate.config import InvestigateConfig, group_of
from replayer.investigate.errors import Refused, Stalled
from replayer.kafka.errors import PositionExpired
from replayer.kafka.reader import Batch, LogReader
from topics.codec import Undecodable, read
from topics.projection import projected
from topics.results import encode_result, result_digest

log = structlog.get_logger(__name__)


class Scan:
    """One pass over the stretches, from their positions on. `results` gathers what was found until it is taken.

    Args:
        seq: number of the next result.
        fetch_records: most records between two yields.
    """

    def __init__(
        self,
        config: InvestigateConfig,
        replay_id: str,
        selection: Selection,
        stretches: Iterable[Stretch],
        seq: int,
        fetch_records: int,
    ) -> None:
        self._config, self._replay_id, self._selection = config, replay_id, selection
        self._stretches = {TopicPartition(part.topic, part.partition): part for part in stretches}
        self._seq, self._fetch_records = seq, fetch_records
        self.results: list[bytes] = []
        self.result_bytes = 0

    def take_results(self) -> list[bytes]:
        taken, self.results, self.result_bytes = self.results, [], 0
        return taken

    async def batches(self, patience_s: float) -> AsyncGenerator[Batch | None]:
        """Read to the end of all stretches; yields each batch once its results and its position have been noted.

        Yields None where nothing came for `patience_s`, so that whoever drives can look around. Close it (aclosing).
        Raises Refused where the log was truncated or made anew, Stalled, KafkaError, LogError.
        """
        async with LogReader(
            self._config.brokers,
            self._config.client,
            max_records=self._fetch_records,
            client_id=group_of(self._replay_id),
        ) as reader:
            while ranges := {tp: (part.position, part.stop) for tp, part in self._stretches.items() if not part.done}:
                try:
                    async with aclosing(self._read(reader, ranges, patience_s)) as coming:
                        async for batch in coming:
                            if batch is not None:
                                self._note(batch)
                            yield batch
                except PositionExpired as gone:
                    self._skip(gone)

    async def _read(
        self, reader: LogReader, ranges: dict[TopicPartition, tuple[int, int]], patience_s: float
    ) -> AsyncGenerator[Batch | None]:
        batches = cast("AsyncGenerator[Batch]", reader.read(ranges))
        idle = 0.0
        coming: asyncio.Future[Batch | None] = asyncio.ensure_future(anext(batches, None))
        try:
            while True:
                done, _ = await asyncio.wait([coming], timeout=patience_s)
                if not done:
                    idle += patience_s
                    if idle >= self._config.stall_timeout_s:
                        raise Stalled(f"nothing came from {len(ranges)} partitions for {idle:.0f} s")
                    yield None
                    continue
                batch = coming.result()
                if batch is None:
                    return
                idle = 0.0
                yield batch
                coming = asyncio.ensure_future(anext(batches, None))
        finally:
            coming.cancel()
            await asyncio.wait([coming])
            if not coming.cancelled():
                coming.exception()  # looked at: it has been raised above, or came too late to matter
            await batches.aclose()

    def _note(self, batch: Batch) -> None:
        part = self._stretches[batch.partition]
        for record in batch.records:
            part.read += 1
            try:
                projection = self._selected(record)
            except Exception as error:  # noqa: BLE001 - one record must not hold up all others, whatever is wrong with it
                # The worker makes a dead letter of such a record (`poison`): here as there it is no event.
                log.error(
                    "a record could not be read",
                    replay_id=self._replay_id,
                    topic=part.topic,
                    partition=part.partition,
                    offset=record.offset,
                    error=type(error).__name__,
                )
                part.undecodable += 1
                continue
            if isinstance(projection, Undecodable):
                part.undecodable += 1
            elif projection is not None:
                self._found(part, record, projection)
        part.position = batch.after

    def _selected(self, record: Record) -> bytes | Undecodable | None:
        """The projection of the record's event, None where it was not asked for."""
        if not self._selection.may_hold(record):
            return None
        found = read(record.value, limits=self._config.limits, headers=record.headers)
        if isinstance(found, Undecodable):
            return found
        event, content = found
        return projected(event, content) if self._selection.takes(event) else None

    def _found(self, part: Stretch, record: Record, projection: bytes) -> None:
        sha256 = hashlib.sha256(projection).hexdigest()
        result = encode_result(
            self._replay_id,
            self._seq,
            part.topic,
            part.partition,
            record.offset,
            record.timestamp,
            sha256,
            projection,
        )
        part.found(result_digest(part.topic, part.partition, record.offset, sha256))
        self._seq += 1
        self.results.append(result)
        self.result_bytes += len(result)

    def _skip(self, gone: PositionExpired) -> None:
        part = self._stretches[TopicPartition(gone.topic, gone.partition)]
        if gone.offset >= gone.begin:
            raise Refused(
                f"{gone.topic}[{gone.partition}] ends at offset {gone.end}, before {part.stop} where it ended when the "
                "replay started: the topic was truncated or made anew. Start a new replay."
            )
        part.skip_expired(gone.begin)
