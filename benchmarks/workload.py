"""The events every contender reads: valid model invocations of about 1 KB and policy verdicts of about 200 bytes.

ACTIVE workflows take turns until each has PER_WORKFLOW events; then the next ACTIVE ones follow. That is what a backlog
of agents that act every few seconds looks like. The product's keys, partitioner and topic settings; no duplicates, no
disorder.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from typing import Any

from aiokafka import AIOKafkaProducer

from replayer.core.sizes import Size, events
from replayer.kafka.partitioner import partition_of
from topics.catalogue import WORKFLOW_EVENTS, Topic

SIZES: tuple[Size, ...] = ("1KB", "200B")
ACTIVE = 1000
PER_WORKFLOW = 20
START_US = 1_760_000_000_000_000
STEP_US = 1000
_BATCH_BYTES = 500_000
_CHUNK = 5000


def workload(
    size: Size, count: int, *, active: int = ACTIVE, per_workflow: int = PER_WORKFLOW
) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of `count` distinct events, in waves of `active` workflows with `per_workflow` events each."""
    per_wave = active * per_workflow
    for wave in range(-(-count // per_wave)):
        first = wave * per_wave
        told = events(size, min(per_wave, count - first), workflows=active, start_us=START_US + first * STEP_US)
        for number, (key, value) in enumerate(told):
            # The generator's ids, counted on over the waves; a test holds the two formats together.
            workflow = b"w%07d" % (wave * active + number % active)
            before, after = b"e%010d" % number, b"e%010d" % (first + number)
            yield workflow, value.replace(key, workflow).replace(before, after, 1)


def named(events: int) -> str:
    """250000 -> 250k, 1000000 -> 1m."""
    if events % 1_000_000 == 0:
        return f"{events // 1_000_000}m"
    return f"{events // 1000}k" if events % 1000 == 0 else str(events)


def source_topic(name: str, partitions: int) -> Topic:
    """A topic of the product's own kind."""
    return replace(WORKFLOW_EVENTS, name=name, partitions=partitions)


async def fill(
    bootstrap: str, topic: str, partitions: int, told: Iterable[tuple[bytes, bytes]], progress: Callable[[int], None]
) -> int:
    """Append events to a topic, acknowledged, in their order within each partition; answers with their bytes."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, max_batch_size=_BATCH_BYTES
    )
    await producer.start()
    total, source = 0, iter(told)
    home = lru_cache(maxsize=4 * ACTIVE)(partition_of)
    try:
        while chunk := list(islice(source, _CHUNK)):
            batches: dict[int, Any] = {}
            sent = []
            for key, value in chunk:
                total += len(value)
                partition = home(key, partitions)
                batch = batches.get(partition)
                if batch is None or batch.append(key=key, value=value, timestamp=None) is None:
                    if batch is not None:
                        batch.close()
                        sent.append(await producer.send_batch(batch, topic, partition=partition))
                    batch = batches[partition] = producer.create_batch()
                    batch.append(key=key, value=value, timestamp=None)
            for partition, batch in batches.items():
                batch.close()
                sent.append(await producer.send_batch(batch, topic, partition=partition))
            await asyncio.gather(*sent)
            progress(len(chunk))
    finally:
        await producer.stop()
    return total
