"""Where an event's processor time goes in a running worker: its threads, from /proc, and its steps, from its metrics.

No profiler is attached. A worker catches up with a backlog; between two looks behind the warm-up, each thread's
processor time and the worker's own counters give microseconds per event. The main thread is the event loop: folding
(decoding and RocksDB's reads are part of it) and the RocksDB write are clocked by the worker itself, as wall time, so
that waiting for the interpreter's lock or for a processor counts there; what is left of the thread is the loop, the
changelog's record batches and the transactions. The stages of `benchmarks.profile_fold`, in processor time and without
Kafka, are recorded beside it: they take the fold apart.

The limit's share (fetch, decode, validate) is measured by `benchmarks.run materialise`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.samples import Sample as Metric

from benchmarks.cluster import cluster
from benchmarks.profile_fold import best
from benchmarks.progress import Progress
from benchmarks.rate import NotMeasurable, advances
from benchmarks.results import Figure, Results
from benchmarks.scrape import scraped, value
from benchmarks.watch import Shares, Watch, cpu_seconds
from benchmarks.worker import deployed, ready_worker
from benchmarks.workload import fill, workload
from replayer.core import sizes
from replayer.core.sizes import Size
from replayer.flows.tables import TIMELINES

_WARM_UP_S = 5.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of a worker at one moment, all of it growing: seconds, but for `events` and `steps`.

    `threads`: processor seconds by (thread id, name).
    """

    at: float
    threads: Mapping[tuple[int, str], float]
    broker_s: float
    events: float
    steps: float
    fold_s: float
    store_s: float
    durable_s: float


#: What `stages` gives, in the words and the order of the report.
STAGES = {
    "fold": "main thread: decoding, folding, RocksDB's reads (wall time)",
    "store": "main thread: RocksDB write (wall time)",
    "loop": "main thread: the rest (event loop, changelog's record batches, sending, transactions)",
    "main_thread": "main thread in all (processor time)",
    "fetch_thread": "fetching thread",
    "other_threads": "other Python threads",
    "rocksdb_threads": "RocksDB's flushes and compactions",
    "worker": "**the worker in all** (processor time)",
    "broker": "the broker beside it",
    "wall": "time that passed for each event",
}


def threads(pid: int) -> dict[tuple[int, str], float]:
    """Processor seconds of each thread of a process, by id and name. Raises FileNotFoundError where it is gone."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text("utf-8", "replace").strip()
        fields = (task / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
        found[int(task.name), name] = (int(fields[11]) + int(fields[12])) / _TICKS
    return found


def stages(before: Look, after: Look, pid: int) -> dict[str, float]:
    """Microseconds per event between two looks, by where they went. Raises NotMeasurable where nothing was folded."""
    events = after.events - before.events
    if events <= 0:
        raise NotMeasurable("nothing was folded between the two looks")

    def each(seconds: float) -> float:
        return seconds * 1e6 / events

    spent = {key: at - before.threads.get(key, 0.0) for key, at in after.threads.items()}
    main = sum(seconds for (tid, _), seconds in spent.items() if tid == pid)
    rocksdb = sum(seconds for (_, name), seconds in spent.items() if name.startswith("rocksdb"))
    python = sorted(
        (s for (tid, name), s in spent.items() if tid != pid and not name.startswith("rocksdb")), reverse=True
    )
    fold, store = after.fold_s - before.fold_s, after.store_s - before.store_s
    return {
        "fold": each(fold),
        "store": each(store),
        "loop": each(max(0.0, main - fold - store)),
        "main_thread": each(main),
        "fetch_thread": each(python[0] if python else 0.0),
        "other_threads": each(sum(python[1:])),
        "rocksdb_threads": each(rocksdb),
        "worker": each(sum(spent.values())),
        "broker": each(after.broker_s - before.broker_s),
        "wall": each(after.at - before.at),
        "durable_wait": each(after.durable_s - before.durable_s),
    }


async def profile(events: int, size: Size, seconds: float, results: Results, progress: Progress) -> None:
    """Record µs per event of each stage, in both guarantees."""
    topic = sizes.topic(size)
    for guarantee, suffix in (("exactly_once", ""), ("at_least_once", "_at_least_once")):
        async with (
            cluster() as broker,
            deployed(broker.bootstrap, "profile", guarantee=guarantee, index=False) as deployment,
        ):
            partitions, url = deployment.settings.partitions, deployment.settings.url
            with progress.counting(f"profile: writing {events:,} events", events) as moved:
                await fill(broker.bootstrap, topic, partitions, workload(size, events), moved)
            watch = Watch(broker, deployment.settings.app_id, topic, partitions)
            async with ready_worker(deployment) as program:
                with progress.waiting(f"profile, {guarantee}"):
                    await watch.follow(
                        program.pid,
                        lambda seen: bool(advances(seen)) and seen[-1].at >= advances(seen)[0].at + _WARM_UP_S,
                    )
                    shares = Shares(broker=broker.pid, worker=program.pid)
                    before = await _look(url, program.pid, broker.pid)
                    await asyncio.sleep(seconds)
                    after = await _look(url, program.pid, broker.pid)
                    cores = shares.cores()
            found = stages(before, after, program.pid)
            rate = (after.events - before.events) / (after.at - before.at)
            if after.events >= events:
                raise NotMeasurable("the worker reached the end of the log: more events are needed")
            detail = {
                "guarantee": guarantee,
                "events_per_s": round(rate),
                "events_per_step": round((after.events - before.events) / max(1.0, after.steps - before.steps)),
                "us_per_event": {name: round(us, 2) for name, us in found.items()},
                "cores": cores,
                "disturbed_cores": cores["others"],
                "workload": f"{size} events, {partitions} partitions",
            }
            progress.say(f"profile, {guarantee}: {rate:,.0f} events/s; µs per event: {detail['us_per_event']}")
            results.record(Figure(f"profile.us_per_event.{size}{suffix}", found["worker"], "µs", detail))
    with progress.waiting("profile: the stages by themselves"):
        apart = await asyncio.to_thread(best, size, 50_000, 4000, 3)
    counted = {name: round(number, 2) for name, number in apart.items()}
    spent = sum(number for name, number in apart.items() if name not in ("rows", "row bytes"))
    progress.say(f"profile: the stages by themselves, {counted}")
    results.record(Figure(f"profile.stages_us.{size}", spent, "µs", {"stages": counted, "workload": f"{size} events"}))


async def _look(url: str, pid: int, broker: int) -> Look:
    told = await scraped(url)
    return Look(
        asyncio.get_running_loop().time(),
        threads(pid),
        cpu_seconds(broker),
        value(told, "replayer_batch_records_sum", table=TIMELINES),
        value(told, "replayer_batch_records_count", table=TIMELINES),
        _seconds(told, "fold"),
        _seconds(told, "store"),
        _seconds(told, "commit"),
    )


def _seconds(told: list[Metric], step: str) -> float:
    return value(told, f"replayer_{step}_seconds_sum", table=TIMELINES)
