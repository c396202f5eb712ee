"""Resident memory of a real worker process while it folds a backlog at full speed, however long the backlog.

Read from /proc four times a second: everything counts, RocksDB's cache and memtables (REPLAYER_ROCKSDB_MEMORY_MB) and
the batches in flight included. The slope is that of a straight line through the samples behind the warm-up, averaged
over ten stretches: samples close to each other say the same, stretches do not. It lies within the noise where zero is
within its 95 % confidence interval (Student's t, eight degrees of freedom).

The feed keeps a little ahead of the worker and has the broker delete what was folded; the changelog may lose its head
too, once the worker has started (nobody recovers from it here). So the disk holds RocksDB, and little else.

Not measured: queries meanwhile, more than one worker, rebalances.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean, linear_regression

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete

from benchmarks.cluster import Cluster, cluster
from benchmarks.progress import Progress
from benchmarks.rate import Sample
from benchmarks.results import Figure, Results
from benchmarks.watch import Shares, Watch
from benchmarks.worker import Deployment, deployed, ready_worker
from benchmarks.workload import ACTIVE, PER_WORKFLOW, fill, named, workload
from replayer.core import sizes
from replayer.core.sizes import Size
from replayer.flows.tables import TIMELINES
from topics.catalogue import changelog

#: Share of the events behind which the line begins. Caches and memtables are full long before; but RocksDB takes
#: 3.3 × 10⁶ events of 1 KB to fill the first level of each database (512 MiB), and only then do its compactions become
#: as large as they will be, and with them the memory that comes and goes (docs/decisions/005). So a run of 14 × 10⁶
#: events says how flat the last 10⁷ are.
WARM_UP = 2 / 7
_PORTION, _AHEAD = 50_000, 200_000
_KEPT_BYTES = 128 << 20  # of each partition of the changelog
_PROPERTIES = {
    "log.segment.bytes": str(32 << 20),
    "log.segment.delete.delay.ms": "1000",
    "log.retention.check.interval.ms": "2000",
}
#: The smaller RocksDB's budget, the sooner it is used up: then what still grows is no cache.
_ROCKSDB_MB = 64
_POINTS = 60
_STRETCHES, _T = 10, 2.306  # 97.5 % of Student's t lie below it with eight degrees of freedom


@dataclass(frozen=True, slots=True)
class Line:
    """A least-squares line: MB per 10^6 events, and how far the slope may be off (95 %, the same unit).

    `rise`: what it comes to between the first and the last sample, MB. `scatter`: of the samples about the line, one
    standard deviation, MB.
    """

    slope: float
    uncertainty: float
    rise: float
    scatter: float

    @property
    def over_noise(self) -> float:
        """The slope, up or down, over its uncertainty: at most 1 where memory is flat as far as can be told."""
        return abs(self.slope) / max(self.uncertainty, 1e-9)


def line(points: Sequence[tuple[float, float]]) -> Line:
    """Through (millions of events, MB), in the order of events. Raises ValueError with too few or all at one place."""
    if len(points) < 2 * _STRETCHES:
        raise ValueError(f"a line needs {2 * _STRETCHES} points")
    xs = [x for x, _ in points]
    width = (xs[-1] - xs[0]) / _STRETCHES
    if width <= 0:
        raise ValueError("all points are at one place")
    stretches: list[list[tuple[float, float]]] = [[] for _ in range(_STRETCHES)]
    for x, y in points:
        stretches[min(_STRETCHES - 1, int((x - xs[0]) / width))].append((x, y))
    means = [(fmean(x for x, _ in one), fmean(y for _, y in one)) for one in stretches if one]
    if len(means) < _STRETCHES:
        raise ValueError("a stretch of the events has no sample")
    slope, at = linear_regression([x for x, _ in means], [y for _, y in means])
    x_mean = fmean(x for x, _ in means)
    left = math.fsum((y - at - slope * x) ** 2 for x, y in means) / (_STRETCHES - 2)
    error = math.sqrt(left / math.fsum((x - x_mean) ** 2 for x, _ in means))
    scatter = math.sqrt(math.fsum((y - at - slope * x) ** 2 for x, y in points) / (len(points) - 2))
    return Line(slope, _T * error, slope * (xs[-1] - xs[0]), scatter)


def at_marks(samples: Sequence[Sample], marks: Sequence[int]) -> dict[int, int]:
    """Resident bytes at the first sample at or behind each mark that was reached."""
    found = {}
    for mark in marks:
        reached = next((sample for sample in samples if sample.committed >= mark), None)
        if reached is not None:
            found[mark] = reached.rss
    return found


def thinned(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most `most` of them, evenly, the last one among them."""
    step = max(1, math.ceil(len(points) / most))
    return list(points[::-1][::step][::-1])


async def memory(events: int, size: Size, results: Results, progress: Progress) -> None:
    """Record the slope over `events`, and the resident set at a few marks."""
    topic = sizes.topic(size)
    async with (
        cluster(properties=_PROPERTIES) as broker,
        deployed(broker.bootstrap, "memory", rocksdb_memory_mb=_ROCKSDB_MB) as deployment,
        ready_worker(deployment) as program,
    ):
        await _let_the_changelog_go(broker, deployment)
        shares = Shares(broker=broker.pid, worker=program.pid)
        watch = Watch(broker, deployment.settings.app_id, topic, deployment.settings.partitions, poll_s=0.25)
        with progress.counting(f"memory: folding {events:,} events", events) as moved:
            feeding = asyncio.create_task(_feed(broker, deployment, topic, size, events, watch, moved))
            try:
                await watch.follow(
                    program.pid, lambda seen: feeding.done() and bool(seen) and seen[-1].committed >= events
                )
            finally:
                feeding.cancel()
        await asyncio.gather(feeding)
        cores = shares.cores()
        disk_mb = await asyncio.to_thread(_size_mb, deployment)
    seen = watch.samples
    points = [(sample.committed / 1e6, sample.rss / 2**20) for sample in seen]
    fitted = line([point for point in points if point[0] >= WARM_UP * events / 1e6])
    seconds = seen[-1].at - seen[0].at
    detail = {
        "peak_rss_mb": round(max(rss for _, rss in points)),
        "rocksdb_memory_mb": deployment.settings.rocksdb_memory_mb,
        "rocksdb_disk_mb": disk_mb,
        "events": events,
        "seconds": round(seconds),
        "cores": cores,
        "disturbed_cores": cores["others"],
        "workload": f"{size} events, {ACTIVE:,} workflows in turn with {PER_WORKFLOW} events each",
    }
    slope = {
        **detail,
        "warm_up_events": round(WARM_UP * events),
        "scatter_mb": round(fitted.scatter, 2),
        "uncertainty_mb_per_1m": round(fitted.uncertainty, 2),
        "rise_mb": round(fitted.rise, 2),
        "samples": [[round(x, 3), round(y)] for x, y in thinned(points, _POINTS)],
    }
    progress.say(
        f"memory: {fitted.slope:+.2f} ± {fitted.uncertainty:.2f} MB per 10⁶ events, {fitted.rise:+.1f} MB in all, "
        f"scatter {fitted.scatter:.1f} MB; {events / seconds:,.0f} events/s; RocksDB holds {disk_mb:,} MB"
    )
    results.record(
        Figure("memory.slope_mb_per_1m", fitted.slope, "MB", slope),
        Figure("memory.rise_over_noise", fitted.over_noise, "x", {"of": "slope / its uncertainty"}),
    )
    for mark, rss in at_marks(seen, sorted({min(1_000_000, events), events // 2, events})).items():
        progress.say(f"memory: {rss / 2**20:.0f} MB after {mark:,} events")
        results.record(Figure(f"memory.rss_mb_after_{named(mark)}", rss / 2**20, "MB", detail))


async def _let_the_changelog_go(broker: Cluster, deployment: Deployment) -> None:
    """Nobody recovers here: have the broker delete the changelog's head, which would come to 10 GB."""
    topic = changelog(deployment.settings.app_id, TIMELINES, deployment.settings.partitions)
    changed = {**topic.config(), "cleanup.policy": "compact,delete", "retention.bytes": str(_KEPT_BYTES)}
    await broker.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic.name, configs=changed)])


async def _feed(
    broker: Cluster,
    deployment: Deployment,
    topic: str,
    size: Size,
    events: int,
    watch: Watch,
    moved: Callable[[int], None],
) -> None:
    """Write in portions, at most _AHEAD of the worker; what it has folded is deleted."""
    told, written, partitions = workload(size, events), 0, deployment.settings.partitions
    while written < events:
        if written - (watch.samples[-1].committed if watch.samples else 0) > _AHEAD:
            await asyncio.sleep(0.1)
            continue
        portion = min(_PORTION, events - written)
        await fill(broker.bootstrap, topic, partitions, islice(told, portion), moved)
        written += portion
        # The record before the position stays: an assignment would read it again.
        folded = {tp: RecordsToDelete(offset - 1) for tp, offset in watch.positions.items() if offset > 1}
        if folded:
            await broker.admin.delete_records(folded)


def _size_mb(deployment: Deployment) -> int:
    files = (path for path in deployment.settings.data_dir.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files) >> 20
