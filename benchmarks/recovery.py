"""Recovery from an empty data directory: seconds from the assignment until a worker can answer, per changelog row.

A real worker folds events, is told to end, loses its data directory and is started again; so the changelog is the
product's own, transaction markers and position rows included. It grows from one size to the next. Measured between two
lines of the worker's log, `assigned` and `ready`, less the same of an empty changelog: connecting, joining the group
and fencing are not a row's doing. Rows are those the worker says it has read back.

Plain Faust recovers the same rows, copied one for one into a changelog of its own with as many partitions: without
transaction markers, for which it would wait. Timed in the same way, between its assignment and its `on_recover`.

Not measured: standbys, a recovery beside other workers', a broker elsewhere, rows that compaction has thinned out
(closed segments may be compacted meanwhile; rows are counted as they arrive).
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.cluster import Cluster, cluster, create, delete
from benchmarks.contenders.job import Job
from benchmarks.materialise import FAUST
from benchmarks.process import Program, ProgramFailed, python_of, running, tail
from benchmarks.progress import Progress
from benchmarks.results import Figure, Results
from benchmarks.scrape import scraped, value
from benchmarks.watch import Shares, Watch, cpu_seconds
from benchmarks.worker import Deployment, deployed, ready_worker
from benchmarks.workload import fill, named, workload
from replayer.core import sizes
from replayer.core.sizes import Size
from replayer.flows.tables import TIMELINES
from replayer.kafka.ports import free_port
from topics.catalogue import changelog

#: Rows an event comes to, until the first size has shown it.
_ROWS_PER_EVENT = 1.2
_FOLDED_S = 1800.0
_FAUST_S = 300.0
_COPIED_AT_A_TIME = 5000


def per_row(took_s: Sequence[float], empty_s: Sequence[float], rows: int) -> float:
    """Microseconds of recovery per row: the median of some recoveries, less the median of those of nothing."""
    return (statistics.median(took_s) - statistics.median(empty_s)) * 1e6 / rows


async def recovery(
    rows: Sequence[int], size: Size, rounds: int, faust: bool, results: Results, progress: Progress
) -> None:
    """Record µs per row at each number of `rows`, their growth, and the ratio to plain Faust's at the smallest."""
    costs: dict[int, float] = {}
    async with cluster() as broker, deployed(broker.bootstrap, "recovery", log_level="INFO", index=False) as deployment:
        events = workload(size, 10**9)
        await _recover(broker, deployment)  # the group's first member ever joins in another way than one that returns
        empty = [(await _recover(broker, deployment)).seconds for _ in range(max(3, rounds))]
        progress.say(f"recovery of nothing: {', '.join(f'{one:.2f}' for one in empty)} s")
        folded, there, ratio = 0, 0, _ROWS_PER_EVENT
        for wanted in sorted(rows):
            more = max(1, int((wanted - there) / ratio))
            await _grow(broker, deployment, size, islice(events, more), folded, more, progress)
            folded += more
            with progress.waiting(f"recovery of about {wanted:,} rows"):
                runs = [await _recover(broker, deployment) for _ in range(rounds if wanted <= 1_000_000 else 1)]
            took, there = [run.seconds for run in runs], runs[-1].rows
            ratio = there / folded
            costs[wanted] = per_row(took, empty, there)
            progress.say(f"recovery of {there:,} rows: {', '.join(f'{one:.2f}' for one in took)} s, "
                         f"{costs[wanted]:.2f} µs/row")  # fmt: skip
            detail = {
                "rows": there,
                "recoveries_s": _rounded(took),
                "of_nothing_s": _rounded(empty),
                "events": folded,
                "disturbed_cores": max(run.disturbed for run in runs),
                "workload": f"{size} events, {deployment.settings.partitions} partitions",
            }
            results.record(Figure(f"recovery.us_per_row_{named(wanted)}", costs[wanted], "µs", detail))
            if faust and wanted == min(rows):
                theirs, detail = await _faust(broker, deployment, progress)
                results.record(
                    Figure("recovery.faust_us_per_row", theirs, "µs", detail),
                    Figure("recovery.vs_faust", theirs / costs[wanted], "x", {"of": "plain Faust / replayer, a row"}),
                )
    if len(costs) > 1:
        of = f"{named(max(costs))} / {named(min(costs))} rows, a row"
        results.record(Figure("recovery.growth", costs[max(costs)] / costs[min(costs)], "x", {"of": of}))


async def _grow(
    broker: Cluster, deployment: Deployment, size: Size, events: Iterator[tuple[bytes, bytes]], folded: int, more: int,
    progress: Progress,
) -> None:  # fmt: skip
    """Have the worker fold `more` events behind the `folded` ones, and end."""
    topic, partitions = sizes.topic(size), deployment.settings.partitions
    with progress.counting(f"recovery: writing {more:,} events", more) as moved:
        await fill(broker.bootstrap, topic, partitions, events, moved)
    watch = Watch(broker, deployment.settings.app_id, topic, partitions)
    with progress.waiting(f"recovery: folding {more:,} events"):
        async with ready_worker(deployment) as program, asyncio.timeout(_FOLDED_S):
            await watch.follow(program.pid, lambda seen: bool(seen) and seen[-1].committed >= folded + more)


@dataclass(frozen=True, slots=True)
class Recovered:
    """One recovery: seconds from assignment to readiness, rows read back, cores busy with what has no part in it."""

    seconds: float
    rows: int
    disturbed: float


async def _recover(broker: Cluster, deployment: Deployment) -> Recovered:
    """Start the worker without a data directory, and end it when it is ready."""
    shutil.rmtree(deployment.settings.data_dir, ignore_errors=True)
    deployment.log.unlink(missing_ok=True)
    shares, began = Shares(broker=broker.pid), time.monotonic()
    async with ready_worker(deployment, within_s=_FOLDED_S) as program:
        worker = cpu_seconds(program.pid) / (time.monotonic() - began)
        disturbed = shares.cores()["others"] - worker
        rows = value(await scraped(deployment.settings.url), "replayer_recovered_rows_total", table=TIMELINES)
    seconds = between(deployment.log.read_text("utf-8"), "assigned", "ready")
    return Recovered(seconds, int(rows), round(max(0.0, disturbed), 2))


def between(log: str, first: str, last: str) -> float:
    """Seconds between two events of a worker's log, a JSON object a line.

    From the last `first` to the next `last` behind it. Raises ValueError where the log has no such pair.
    """
    began = ended = None
    for line in log.splitlines():
        try:
            told = json.loads(line)
        except json.JSONDecodeError:
            continue
        if not isinstance(told, dict):
            continue
        if told.get("event") == first:
            began, ended = told["timestamp"], None
        elif told.get("event") == last and began is not None and ended is None:
            ended = told["timestamp"]
    if began is None or ended is None:
        raise ValueError(f"the log has no {first!r} with a {last!r} behind it")
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()


async def _faust(broker: Cluster, deployment: Deployment, progress: Progress) -> tuple[float, dict[str, object]]:
    """Plain Faust's µs per row for the rows of the deployment's changelog."""
    group, partitions = f"bench-faust-recovery-{secrets.token_hex(3)}", deployment.settings.partitions
    source = replace(changelog(group, "source", partitions), name=f"{group}-source")
    empty, full = (changelog(f"{group}-{kind}", TIMELINES, partitions) for kind in ("empty", "full"))
    await create(broker.admin, [source, empty, full])
    try:
        with progress.waiting("recovery: copying the changelog for plain Faust"):
            own = changelog(deployment.settings.app_id, TIMELINES, partitions)
            copied = await _copy(broker.bootstrap, own.name, full.name, partitions)
        with progress.waiting(f"recovery: plain Faust, {copied:,} rows"):
            # A group's first member ever takes seconds more: the first start of each does not count.
            _, *nothing = [await _faust_once(broker, source.name, f"{group}-empty", partitions) for _ in range(4)]
            _, *took = [await _faust_once(broker, source.name, f"{group}-full", partitions) for _ in range(4)]
    finally:
        await delete(broker.admin, group)
    cost, took, nothing = per_row(took, nothing, copied), _rounded(took), _rounded(nothing)
    progress.say(f"recovery of {copied:,} rows by plain Faust: {took} s, {cost:.1f} µs/row (of nothing: {nothing} s)")
    return cost, {"rows": copied, "recoveries_s": took, "of_nothing_s": nothing}


def _rounded(seconds: Sequence[float]) -> list[float]:
    return [round(one, 2) for one in seconds]


async def _copy(bootstrap: str, source: str, target: str, partitions: int) -> int:
    """Every committed record, to the same partition, in order; answers with how many."""
    tps = [TopicPartition(source, number) for number in range(partitions)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 << 20,
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=5)
    await consumer.start()
    await producer.start()
    copied = 0
    try:
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        for tp, start in (await consumer.beginning_offsets(tps)).items():
            consumer.seek(tp, start)
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            sent = []
            found = await consumer.getmany(timeout_ms=200, max_records=_COPIED_AT_A_TIME)
            for tp, records in found.items():
                for record in records:
                    sent.append(await producer.send(target, value=record.value, key=record.key, partition=tp.partition))
            await asyncio.gather(*sent)
            copied += len(sent)
    finally:
        await producer.stop()
        await consumer.stop()
    return copied


async def _faust_once(broker: Cluster, topic: str, group: str, partitions: int) -> float:
    with tempfile.TemporaryDirectory(prefix=f"{group}-") as directory:
        log, settings = Path(directory) / "output.log", {**FAUST, "rows": "all", "announce": True}
        job = Job(
            broker.bootstrap, topic, partitions, group, str(Path(directory) / "data"), free_port("127.0.0.1"), settings
        )
        command = (python_of("product"), "-m", "benchmarks.contenders.plain_faust", job.as_argument())
        async with running(command, log) as program:
            return await _announced(program, log)


async def _announced(program: Program, log: Path) -> float:
    """Seconds between what plain_faust announces. Raises ProgramFailed where it does not."""
    deadline = time.monotonic() + _FAUST_S
    while time.monotonic() < deadline and not program.ended:
        told = announcements(await asyncio.to_thread(log.read_text, "utf-8", "replace"))
        if "recovered" in told and "assigned" in told:
            return told["recovered"] - told["assigned"]
        await asyncio.sleep(0.2)
    raise ProgramFailed(f"plain Faust did not recover:\n{tail(log)}")


def announcements(log: str) -> dict[str, float]:
    """What a program announces, `bench <what> <seconds>`: the first time of each. Faust hides the cursor before it."""
    told: dict[str, float] = {}
    for what, at in re.findall(r"bench (\w+) (\d+\.\d+)$", log, re.MULTILINE):
        told.setdefault(what, float(at))
    return told
