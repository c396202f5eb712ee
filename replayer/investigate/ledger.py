"""The books of one replay: results, progress and checkpoint, written together or not at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

from aiokafka import AIOKafkaProducer, TopicPartition

from replayer import clients
from replayer.core.checkpoint import Checkpoint, progress, read_checkpoint, terminal
from replayer.investigate.commits import committed
from replayer.investigate.config import InvestigateConfig, group_of
from replayer.investigate.errors import Stalled
from replayer.kafka.errors import TopicError
from replayer.kafka.metadata import describe
from replayer.kafka.opening import opened
from topics.progress import State, encode_progress
from topics.results import encode_terminal

_BATCH_BYTES = 900_000  # one record batch on the wire, below the brokers' default limit
_REFRESH_S = 3600.0  # committed offsets expire after days without a commit, also of a replay that is long under way
_CLOSE_S = 5.0


class Ledger:
    """A transactional producer that only one process can hold for a replay. Use as `async with`.

    Opening it aborts what a predecessor left open and fences it: from then on its every write fails with
    ProducerFenced. What `checkpoint` answers is therefore final, and what `write` writes follows it directly.
    """

    def __init__(self, config: InvestigateConfig, replay_id: str) -> None:
        self._config, self._replay_id = config, replay_id
        self._key, self._group = replay_id.encode(), group_of(replay_id)
        self._producer: Any = None
        self._anchor = TopicPartition(config.progress_topic, 0)
        self._results = TopicPartition(config.results_topic, 0)
        self._committed: dict[TopicPartition, tuple[int, str]] = {}
        self._refreshed = 0.0

    async def __aenter__(self) -> Self:
        """Raises KafkaError, TimeoutError; BrokerUnreachable; TopicError where a replay topic is missing."""
        config = self._config
        self._producer = AIOKafkaProducer(
            bootstrap_servers=list(config.brokers),
            client_id=self._group,
            transactional_id=self._group,
            transaction_timeout_ms=int(config.transaction_timeout_s * 1000),
            acks="all",
            max_batch_size=_BATCH_BYTES,
            max_request_size=config.limits.max_record_bytes + _BATCH_BYTES,
            **config.client,
        )
        async with asyncio.timeout(config.transaction_timeout_s * 2):  # the predecessor's transaction may take one
            await opened(self._producer, self._close, config.brokers)
            try:
                await self._locate()
            except BaseException:
                await self._close()
                raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def _close(self) -> None:
        # Bounded: what is left open here, the broker aborts for whoever comes next.
        await clients.stop(self._producer, _CLOSE_S)

    async def _locate(self) -> None:
        """All that is written of a replay goes into its key's partition."""
        names = (self._config.progress_topic, self._config.results_topic)
        found = await describe(self._producer.client, names)
        missing = [name for name in names if name not in found]
        if missing:
            raise TopicError(f"Topic {', '.join(missing)} is missing: run `replayer topics create`.")
        self._anchor, self._results = (
            TopicPartition(name, self._config.partition_of(self._key, found[name].partitions)) for name in names
        )

    async def checkpoint(self, folded_version: int) -> Checkpoint | None:
        """Where the replay stands; None: never been run. Raises LostCheckpoint, KafkaError, TimeoutError."""
        async with asyncio.timeout(self._config.transaction_timeout_s):
            held = await committed(self._producer.client, self._group, tuple(self._anchor))
        return read_checkpoint(self._replay_id, tuple(self._anchor), held, folded_version)

    async def write(
        self, checkpoint: Checkpoint, state: State, results: Sequence[bytes] = (), *, error: str | None = None
    ) -> Checkpoint:
        """Move the replay on, in one transaction that has committed when this returns. Answers with the new checkpoint.

        1. results, and the terminal record where `state` is final; 2. progress, which says where they are; 3. the
        group's offsets with the checkpoint. Raises ProducerFenced, KafkaError, TimeoutError: whether it committed is
        then unknown, and only a new ledger can tell.
        """
        now_us = time.time_ns() // 1000
        values = list(results)
        if state.final:
            values.append(encode_terminal(terminal(self._replay_id, checkpoint, state, error, now_us)))
        async with asyncio.timeout(self._config.transaction_timeout_s):
            await self._producer.begin_transaction()
            wrote = await self._append(values) if values else None
            stretches = tuple(replace(stretch, gaps=list(stretch.gaps)) for stretch in checkpoint.stretches)
            anchor = replace(checkpoint.anchor.next(state, wrote), stretches=len(stretches))
            after = Checkpoint(anchor, stretches)
            said = progress(self._replay_id, after, (self._results.topic, self._results.partition), error, now_us)
            record = await self._producer.send_and_wait(
                self._anchor.topic, encode_progress(said), self._key, self._anchor.partition
            )
            offsets = self._offsets(after, record.offset + 1)
            await self._producer.send_offsets_to_transaction(offsets, self._group)
            await self._producer.commit_transaction()
        self._committed.update(offsets)
        return after

    async def _append(self, values: Sequence[bytes]) -> tuple[int, int]:
        """Append to the results, in order; answers with the offsets [first, end) they lie in."""
        sent: list[tuple[asyncio.Future[Any], int]] = []
        batch = self._producer.create_batch()
        for value in values:
            if batch.append(key=self._key, value=value, timestamp=None) is None:
                sent.append(await self._send(batch))
                batch = self._producer.create_batch()
                batch.append(key=self._key, value=value, timestamp=None)
        sent.append(await self._send(batch))
        bases = await asyncio.gather(*(future for future, _ in sent))
        if any(base.offset < 0 for base in bases):
            raise Stalled("the broker took results for a repetition and did not say where they are")
        return bases[0].offset, bases[-1].offset + sent[-1][1]

    async def _send(self, batch: Any) -> tuple[asyncio.Future[Any], int]:
        batch.close()
        count = batch.record_count()
        return await self._producer.send_batch(batch, self._results.topic, partition=self._results.partition), count

    def _offsets(self, after: Checkpoint, behind_progress: int) -> dict[TopicPartition, tuple[int, str]]:
        """What has changed since the last transaction; everything, where that is long ago."""
        whole = {
            TopicPartition(stretch.topic, stretch.partition): (stretch.position, stretch.encode())
            for stretch in after.stretches
        }
        now = time.monotonic()
        if now - self._refreshed > _REFRESH_S:
            self._committed.clear()
            self._refreshed = now
        changed = {tp: entry for tp, entry in whole.items() if self._committed.get(tp) != entry}
        return changed | {self._anchor: (behind_progress, after.anchor.encode())}
