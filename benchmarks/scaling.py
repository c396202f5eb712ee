"""Two workers against one: durable materialisation of the same log by one group, on one machine.

The log is written before; the broker only serves. It shares the processors with the workers all the same, so that two
of them on two cores cannot be twice as fast as one: who kept how many cores busy stands beside the ratio. Each run is
a group of its own, measured behind a warm-up in which its members have come together.

Not measured: a broker elsewhere, more partitions than four.
"""

from __future__ import annotations

import statistics
from contextlib import AsyncExitStack
from dataclasses import dataclass

from benchmarks.cluster import Cluster, cluster, create, delete
from benchmarks.progress import Progress
from benchmarks.rate import Rate, advances, enough, rate
from benchmarks.results import Figure, Results
from benchmarks.watch import Shares, Watch
from benchmarks.worker import Deployment, deployed, ready_worker
from benchmarks.workload import ACTIVE, PER_WORKFLOW, fill, source_topic, workload
from replayer.core import sizes
from replayer.core.sizes import Size
from replayer.kafka.ports import free_port
from topics.catalogue import DEFAULT_PARTITIONS

_WARM_UP_S = 8.0
_USABLE = 0.9  # of the log: a member whose partitions are at their end leaves the other one alone


@dataclass(frozen=True, slots=True)
class Run:
    """One run of some workers: their rate together, and the cores everybody kept busy meanwhile."""

    rate: Rate
    cores: dict[str, float]


async def scaling(events: int, size: Size, seconds: float, rounds: int, results: Results, progress: Progress) -> None:
    """Record the rate of one worker and of two, and their ratio."""
    topic = sizes.topic(size)
    runs: dict[int, list[Run]] = {1: [], 2: []}
    async with cluster() as broker:
        await create(broker.admin, [source_topic(topic, DEFAULT_PARTITIONS)])
        with progress.counting(f"scaling: writing {events:,} events", events) as moved:
            await fill(broker.bootstrap, topic, DEFAULT_PARTITIONS, workload(size, events), moved)
        for number in range(rounds):
            for workers in (1, 2) if number % 2 == 0 else (2, 1):
                with progress.waiting(f"scaling, round {number + 1} of {rounds}: {workers} of 2 workers"):
                    run = await _run(broker, topic, events, workers, seconds)
                runs[workers].append(run)
                progress.say(f"  round {number + 1}  {workers} worker(s) {run.rate.per_second:10,.0f} events/s over "
                             f"{run.rate.seconds:.1f} s; cores: {run.cores}")  # fmt: skip
    median = {workers: statistics.median(run.rate.per_second for run in made) for workers, made in runs.items()}
    details = {
        workers: {
            "rounds": [float(f"{run.rate.per_second:.3g}") for run in made],
            "cores": {name: round(statistics.median(run.cores[name] for run in made), 2) for name in made[0].cores},
            "disturbed_cores": max(run.cores["others"] for run in made),
            "workload": f"{events:,} {size} events in {DEFAULT_PARTITIONS} partitions, "
            f"{ACTIVE:,} workflows in turn with {PER_WORKFLOW} events each",
        }
        for workers, made in runs.items()
    }
    results.record(
        Figure("scaling.one_worker_rate", median[1], "events/s", details[1]),
        Figure("scaling.two_workers_rate", median[2], "events/s", details[2]),
        Figure("scaling.two_workers", median[2] / median[1], "x", {"of": "two workers / one"}),
    )


async def _run(broker: Cluster, topic: str, events: int, workers: int, seconds: float) -> Run:
    end = int(events * _USABLE)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(deployed(broker.bootstrap, f"scaling-{workers}", index=False))
        group = first.settings.app_id
        stack.push_async_callback(delete, broker.admin, group)
        members = [first, *(_beside(first, number) for number in range(1, workers))]
        pids = {}
        for number, member in enumerate(members, 1):
            pids[f"worker_{number}"] = (await stack.enter_async_context(ready_worker(member))).pid
        watch = Watch(broker, group, topic, DEFAULT_PARTITIONS)
        # The window begins where all are there: what one did alone before does not count.
        await watch.follow(
            pids["worker_1"], lambda seen: bool(advances(seen)) and seen[-1].at >= advances(seen)[0].at + _WARM_UP_S
        )
        watch.samples.clear()
        shares = Shares(broker=broker.pid, **pids)
        await watch.follow(pids["worker_1"], lambda seen: enough(seen, 0.0, seconds, end))
        cores = shares.cores()
        return Run(rate(watch.samples, 0.0, end), cores)


def _beside(first: Deployment, number: int) -> Deployment:
    """Another worker of the same group: a name, a port and a data directory of its own."""
    directory = first.directory / f"worker-{number}"
    directory.mkdir()
    changed = {
        "instance_id": f"bench-{number}",
        "data_dir": directory / "data",
        "web_port": free_port("127.0.0.1"),
    }
    return Deployment(first.settings.model_copy(update=changed), directory)
