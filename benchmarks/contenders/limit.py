"""The limit: aiokafka's batches, every record decoded and validated by the product's decoder, no state at all.

Nothing that consumes events from Python through this client, with that decoder and a record at a time, can be faster.
`decoder`: python is topics.codec, native the one of the native fold. Offsets are committed four times a second, so that
it is measured as the others are.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable

import uvloop
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from benchmarks.contenders.job import Job
from replayer.native.library import Library
from topics.catalogue import DEFAULT_MAX_RECORD_BYTES
from topics.codec import Undecodable, decode


def decoder(name: str) -> Callable[[ConsumerRecord], object]:
    """Decodes a record, and raises where it holds no event."""
    if name == "native":
        read = Library(DEFAULT_MAX_RECORD_BYTES).read

        def natively(record: ConsumerRecord) -> object:
            found = read(record.value)
            if found is None:
                raise RuntimeError(f"offset {record.offset} holds no event that the native decoder knows")
            return found

        return natively

    def in_python(record: ConsumerRecord) -> object:
        found = decode(record.value, headers=record.headers)
        if isinstance(found, Undecodable):
            raise RuntimeError(f"offset {record.offset} holds no event: {found.detail}")
        return found

    return in_python


async def consume(job: Job) -> None:
    settings = dict(job.settings)
    validated = decoder(settings.pop("decoder"))
    consumer = AIOKafkaConsumer(
        job.topic,
        bootstrap_servers=job.bootstrap,
        group_id=job.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
        **settings,
    )
    await consumer.start()
    loop = asyncio.get_running_loop()
    try:
        committed_at = loop.time()
        while True:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    validated(record)
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
