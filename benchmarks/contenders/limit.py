"""The limit: aiokafka's batches, every record decoded and validated by the product's codec, no state at all.

Nothing that consumes events from Python through this client and codec can be faster. Offsets are committed four times a
second, so that it is measured as the others are.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal

import uvloop
from aiokafka import AIOKafkaConsumer

from benchmarks.contenders.job import Job
from topics.codec import Undecodable, decode


async def consume(job: Job) -> None:
    consumer = AIOKafkaConsumer(
        job.topic,
        bootstrap_servers=job.bootstrap,
        group_id=job.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
        **job.settings,
    )
    await consumer.start()
    loop = asyncio.get_running_loop()
    try:
        committed_at = loop.time()
        while True:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    found = decode(record.value, headers=record.headers)
                    if isinstance(found, Undecodable):
                        raise RuntimeError(f"offset {record.offset} holds no event: {found.detail}")
            if loop.time() - committed_at >= 0.25:
                await consumer.commit()
                committed_at = loop.time()
    finally:
        await consumer.stop()


async def main() -> None:
    work = asyncio.ensure_future(consume(Job.from_argv()))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await work


if __name__ == "__main__":
    uvloop.run(main())
