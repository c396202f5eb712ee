"""Event to queryable: from the moment an event is due at its producer until the worker's web view answers for it.

A producer (no linger, acks=all) sends `rate` events a second by the clock, each the first of a workflow of its own, to
a real worker process. SAMPLES_PER_S of them are asked for over HTTP from the moment they are due: 404, 404, ..., 200.
The time of an event runs from when it was due, not from when a late producer got round to it; how late it got is told.

Errors, all of them upwards: the pause between two questions and the time of the answer itself (told as well); producer,
asker, broker and worker share the machine. Asking is work for the worker too: with a fixed pause of 5 ms a thousand
questions a second made most of the time measured. So the pause grows with the age of the event (POLL_SHARE of it, at
least POLL_S), and as many events are asked for at any rate. Not measured: lists and timelines (one workflow's head is
asked for), a cluster.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import aiohttp
from aiokafka import AIOKafkaProducer

from benchmarks.cluster import cluster
from benchmarks.progress import Progress
from benchmarks.results import Figure, Results
from benchmarks.watch import Shares
from benchmarks.worker import Deployment, deployed, ready_worker
from benchmarks.workload import START_US
from replayer.core import sizes
from replayer.kafka.partitioner import partition_of
from topics.codec import Undecodable, decode

SAMPLES_PER_S = 12
POLL_S = 0.003
POLL_SHARE = 0.1
WARM_UP_S = 10.0
_GIVE_UP_S = 30.0
_GUARANTEES = {"exactly_once": "", "at_least_once": "_at_least_once"}


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank: the smallest value that at least `share` of all do not exceed. Raises ValueError without any."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


class _Asker:
    """Asks one worker for workflows until it knows them."""

    def __init__(self, session: aiohttp.ClientSession, url: str, tenant: str) -> None:
        self._session, self._url, self._tenant = session, url, tenant
        self.seconds: list[float] = []
        self.answers: list[float] = []
        self.late: list[float] = []  # how long after it was due each event was handed to the producer's client

    async def ask(self, workflow: str, due: float, counts: bool) -> None:
        loop = asyncio.get_running_loop()
        while True:
            asked = loop.time()
            async with self._session.get(
                f"{self._url}/v1/workflows/{workflow}", params={"tenant": self._tenant}
            ) as answer:
                await answer.read()
                self.answers.append(loop.time() - asked)
                if answer.status == 200:
                    break
                if answer.status not in (404, 503):
                    raise RuntimeError(f"the worker answered {answer.status}")
            age = loop.time() - due
            if age > _GIVE_UP_S:
                raise RuntimeError(f"a workflow was not there {_GIVE_UP_S:.0f} s after its event")
            await asyncio.sleep(max(POLL_S, POLL_SHARE * age))
        if counts:
            self.seconds.append(loop.time() - due)


async def latency(rate: int, seconds: float, guarantees: Sequence[str], results: Results, progress: Progress) -> None:
    """Measure each guarantee on a worker of its own and record p50 and p99 in milliseconds."""
    async with cluster() as broker:
        for guarantee in guarantees:
            async with deployed(broker.bootstrap, "latency", guarantee=guarantee, rate_limit_per_s=1_000_000
            ) as deployment, ready_worker(deployment) as program:  # fmt: skip
                shares = Shares(broker=broker.pid, worker=program.pid)
                with progress.waiting(f"latency, {guarantee}: {rate} events/s for {seconds:g} s"):
                    asker = await _measure(deployment, guarantee, rate, seconds)
                cores = shares.cores()
            found = {"p50_ms": percentile(asker.seconds, 0.5), "p99_ms": percentile(asker.seconds, 0.99)}
            detail: dict[str, Any] = {
                "events_per_s": rate,
                "guarantee": guarantee,
                "samples": len(asker.seconds),
                "max_ms": round(max(asker.seconds) * 1000, 1),
                "questions_per_s": round(len(asker.answers) / (WARM_UP_S + seconds)),
                "answer_p50_ms": round(percentile(asker.answers, 0.5) * 1000, 1),
                "producer_late_p50_ms": round(percentile(asker.late, 0.5) * 1000, 1),
                "producer_late_p99_ms": round(percentile(asker.late, 0.99) * 1000, 1),
                "cores": cores,
                "disturbed_cores": cores["others"],
                "polling_error": f"up to {POLL_SHARE:.0%}, at least {POLL_S * 1000:g} ms",
            }
            progress.say(f"latency, {guarantee}: " + ", ".join(f"{k} {v * 1000:.1f}" for k, v in found.items()))
            suffix = _GUARANTEES[guarantee]
            results.record(
                *(Figure(f"latency.{name}{suffix}", value * 1000, "ms", detail) for name, value in found.items())
            )


async def _measure(deployment: Deployment, name: str, rate: int, seconds: float) -> _Asker:
    settings, topic = deployment.settings, sizes.topic("1KB")
    count = int(rate * (WARM_UP_S + seconds))
    # The log holds the workflows of the guarantee measured before: these get names of their own.
    plain = sizes.events("1KB", count, workflows=count, start_us=START_US)
    mark = b"-" + name.encode()
    told = [(key + mark, value.replace(key, key + mark)) for key, value in plain]
    event = decode(told[0][1])
    if isinstance(event, Undecodable):
        raise RuntimeError(f"the workload holds no event: {event.detail}")
    # One request at a time takes one batch of a partition: with the default of 16 KB each, a stall became a backlog of
    # the producer's own.
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.brokers, acks="all", enable_idempotence=True, linger_ms=0, max_batch_size=1 << 18
    )
    await producer.start()
    loop = asyncio.get_running_loop()
    try:
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as asked:
            asker = _Asker(session, settings.url, event.tenant_id)
            sent: list[asyncio.Future[Any]] = []
            start, sample_every = loop.time() + 0.5, max(1, rate // SAMPLES_PER_S)
            for number, (key, value) in enumerate(told):
                due = start + number / rate
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                partition = partition_of(key, settings.partitions)
                asker.late.append(loop.time() - due)
                sent.append(await producer.send(topic, value=value, key=key, partition=partition))
                if number % sample_every == 0:
                    asked.create_task(asker.ask(key.decode(), due, counts=due >= start + WARM_UP_S))
            await asyncio.gather(*sent)
    finally:
        await producer.stop()
    return asker
