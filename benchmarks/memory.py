"""Resident memory of a real worker process while it folds a backlog of 1-KB events at full speed.

Read from /proc when the group's committed offsets pass each mark: everything counts, RocksDB's cache and memtables
(REPLAYER_ROCKSDB_MEMORY_MB) and the batches in flight included. Not measured: queries meanwhile, more than one worker.
"""

from __future__ import annotations

from benchmarks.cluster import cluster
from benchmarks.progress import Progress
from benchmarks.rate import Sample
from benchmarks.results import Figure, Results
from benchmarks.watch import Watch
from benchmarks.worker import deployed, ready_worker
from benchmarks.workload import ACTIVE, PER_WORKFLOW, fill, named, workload
from replayer.core import sizes


def at_marks(samples: list[Sample], marks: tuple[int, ...]) -> dict[int, int]:
    """Resident bytes at the first sample at or behind each mark that was reached."""
    found = {}
    for mark in marks:
        reached = next((sample for sample in samples if sample.committed >= mark), None)
        if reached is not None:
            found[mark] = reached.rss
    return found


async def memory(events: int, results: Results, progress: Progress) -> None:
    """Record the resident set after a quarter, half and all of `events`."""
    topic, marks = sizes.topic("1KB"), (events // 4, events // 2, events)
    async with cluster() as broker, deployed(broker.bootstrap, "memory") as deployment:
        partitions = deployment.settings.partitions
        with progress.counting(f"writing {events:,} events", events) as moved:
            await fill(broker.bootstrap, topic, partitions, workload("1KB", events), moved)
        async with ready_worker(deployment) as program:
            watch = Watch(broker, deployment.settings.app_id, topic, partitions)
            with progress.waiting(f"memory: folding {events:,} events"):
                await watch.follow(program.pid, lambda seen: bool(seen) and seen[-1].committed >= events)
    found = at_marks(watch.samples, marks)
    detail = {
        "peak_rss_mb": round(max(sample.rss for sample in watch.samples) / 2**20),
        "rocksdb_memory_mb": deployment.settings.rocksdb_memory_mb,
        "workload": f"1KB events, {ACTIVE:,} workflows in turn with {PER_WORKFLOW} events each",
    }
    for mark, rss in found.items():
        progress.say(f"memory: {rss / 2**20:.0f} MB after {mark:,} events")
        results.record(Figure(f"memory.rss_mb_after_{named(mark)}", rss / 2**20, "MB", detail))
