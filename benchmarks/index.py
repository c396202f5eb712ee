"""The index: what it costs a worker that catches up, and what a page of a template's decisions takes.

Cost: the same log is folded with the index on and off, in turns; it is over when timelines and index are where the logs
end, so nothing is owed. Every event of the log uses a template and a model: the most there can be.
Pages: a template version with so many uses, each by a decision of a workflow of its own; the first page over HTTP, then
page after page by its cursor to the last one.

Not measured: pages while the worker folds, pages over several workers.
"""

from __future__ import annotations

import statistics
import time
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
from aiokafka import TopicPartition

from benchmarks.cluster import Cluster, cluster, create, delete
from benchmarks.latency import percentile
from benchmarks.progress import Progress
from benchmarks.rate import NotMeasurable, Sample
from benchmarks.results import Figure, Results
from benchmarks.watch import Shares, Watch
from benchmarks.worker import deployed, ready_worker
from benchmarks.workload import ACTIVE, PER_WORKFLOW, fill, source_topic, workload
from replayer.core import sizes
from replayer.core.sizes import Size
from replayer.kafka.admin import LogAdmin
from topics.catalogue import DEFAULT_PARTITIONS, TEMPLATE_USAGE

PAGE = 50
_WARM_UP = 0.1  # of the events
_TEMPLATE, _VERSION = "support-answer", "2"
_FIRST = 100  # pages
_LARGE = 1000  # decisions a page, where all pages are asked for


async def index(events: int, uses: int, size: Size, rounds: int, results: Results, progress: Progress) -> None:
    """Record the share of the rate that is left with the index on, the first page's time, and how pages go on."""
    await _rates(events, size, rounds, results, progress)
    await _pages(uses, size, results, progress)


async def _rates(events: int, size: Size, rounds: int, results: Results, progress: Progress) -> None:
    topic = sizes.topic(size)
    runs: dict[bool, list[float]] = {False: [], True: []}
    disturbed = 0.0
    async with cluster() as broker:
        await create(broker.admin, [source_topic(topic, DEFAULT_PARTITIONS)])
        with progress.counting(f"index: writing {events:,} events", events) as moved:
            await fill(broker.bootstrap, topic, DEFAULT_PARTITIONS, workload(size, events), moved)
        for number in range(rounds):
            for on in (False, True) if number % 2 == 0 else (True, False):
                with progress.waiting(f"index, round {number + 1} of {rounds}: {'on' if on else 'off'}"):
                    rate, others = await _rate(broker, topic, events, on)
                runs[on].append(rate)
                disturbed = max(disturbed, others)
                progress.say(f"  round {number + 1}  index {'on ' if on else 'off'} {rate:10,.0f} events/s")
    median = {on: statistics.median(found) for on, found in runs.items()}
    detail = {
        "rounds": [float(f"{one:.3g}") for one in runs[True]],
        "rounds_without": [float(f"{one:.3g}") for one in runs[False]],
        "disturbed_cores": disturbed,
        "of": "rate with / without, until both have caught up",
        "workload": f"{events:,} {size} events in {DEFAULT_PARTITIONS} partitions, {ACTIVE:,} workflows in turn with "
        f"{PER_WORKFLOW} events each; each uses a template and a model",
    }
    results.record(Figure("index.rate_share", median[True] / median[False], "x", detail))


async def _rate(broker: Cluster, topic: str, events: int, on: bool) -> tuple[float, float]:
    """Events a second behind the warm-up, until all is folded; cores kept busy by others meanwhile."""
    async with AsyncExitStack() as stack:
        deployment = await stack.enter_async_context(deployed(broker.bootstrap, "index", index=on))
        group = deployment.settings.app_id
        stack.push_async_callback(delete, broker.admin, group)
        # Of the cluster, not of the deployment: what the run before said would be folded, too.
        stack.push_async_callback(broker.admin.delete_topics, [TEMPLATE_USAGE.name])
        worker = await stack.enter_async_context(ready_worker(deployment))
        watch = Watch(broker, group, topic, DEFAULT_PARTITIONS)
        await watch.follow(worker.pid, lambda seen: bool(seen) and seen[-1].committed >= events * _WARM_UP)
        first, shares = watch.samples[-1], Shares(broker=broker.pid, worker=worker.pid)
        await watch.follow(worker.pid, lambda seen: seen[-1].committed >= events)
        last = watch.samples[-1]
        if on:
            last = await _indexed(broker, group, worker.pid)
        return (events - first.committed) / (last.at - first.at), shares.cores()["others"]


async def _indexed(broker: Cluster, group: str, pid: int) -> Sample:
    """The sample at which the index stands where its topic ends."""
    watch = Watch(broker, group, TEMPLATE_USAGE.name, DEFAULT_PARTITIONS)
    ends = await _ends(broker)
    await watch.follow(pid, lambda seen: bool(seen) and seen[-1].committed >= ends)
    return watch.samples[-1]


async def _ends(broker: Cluster) -> int:
    async with LogAdmin([broker.bootstrap]) as admin:
        tps = [TopicPartition(TEMPLATE_USAGE.name, number) for number in range(DEFAULT_PARTITIONS)]
        return sum((await admin.end_offsets(tps)).values())


async def _pages(uses: int, size: Size, results: Results, progress: Progress) -> None:
    topic = sizes.topic(size)
    async with (
        cluster() as broker,
        deployed(broker.bootstrap, "pages", index=True, rate_limit_per_s=1_000_000) as deployment,
    ):
        with progress.counting(f"index: writing {uses:,} uses of a template", uses) as moved:
            told = workload(size, uses, per_workflow=1)
            await fill(broker.bootstrap, topic, deployment.settings.partitions, told, moved)
        async with ready_worker(deployment) as worker:
            with progress.waiting(f"index: folding {uses:,} uses of a template"):
                watch = Watch(broker, deployment.settings.app_id, topic, deployment.settings.partitions)
                await watch.follow(worker.pid, lambda seen: bool(seen) and seen[-1].committed >= uses)
                await _indexed(broker, deployment.settings.app_id, worker.pid)
            with progress.waiting(f"index: {_FIRST} first pages, then all of them one after the other"):
                first, followed = await _asked(deployment.settings.url, uses)
    middle = statistics.median(first) * 1000
    detail = {
        "p99_ms": round(percentile(first, 0.99) * 1000, 2),
        "pages": len(first),
        "decisions_a_page": PAGE,
        "uses": uses,
    }
    tenth = len(followed) // 10
    growth = statistics.median(followed[-tenth:]) / statistics.median(followed[:tenth])
    progress.say(f"index: the first page of {uses:,} uses {middle:.2f} ms, page after page {growth:.2f} times that")
    results.record(
        Figure("index.first_page_ms", middle, "ms", detail),
        Figure(
            "index.page_growth",
            growth,
            "x",
            {"of": f"last tenth / first tenth of all {len(followed)} pages of {_LARGE} decisions, by cursor"},
        ),
    )


async def _asked(url: str, uses: int) -> tuple[list[float], list[float]]:
    """Seconds of the first page, time and again; of page after page."""
    path = f"{url}/v1/templates/{_TEMPLATE}/versions/{_VERSION}"
    first: list[float] = []
    followed: list[float] = []
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        async with session.get(path) as answer:
            found = (await answer.json())["uses"]
        if found != uses:
            raise NotMeasurable(f"the index knows of {found} uses, not of {uses}")
        for turn in range(_FIRST + 3):
            spent, page = await _page(session, f"{path}/decisions", PAGE, None)
            if len(page["items"]) != PAGE:
                raise NotMeasurable(f"a page has {len(page['items'])} decisions, not {PAGE}")
            if turn >= 3:
                first.append(spent)
        seen, cursor = 0, None
        while seen == 0 or cursor is not None:
            spent, page = await _page(session, f"{path}/decisions", _LARGE, cursor)
            followed.append(spent)
            seen, cursor = seen + len(page["items"]), page["next_cursor"]
        if seen != uses:
            raise NotMeasurable(f"all pages together have {seen} decisions, not {uses}")
    return first, followed


async def _page(
    session: aiohttp.ClientSession, url: str, limit: int, cursor: str | None
) -> tuple[float, dict[str, Any]]:
    """Seconds a page takes, and the page."""
    asked = {"limit": str(limit), **({} if cursor is None else {"cursor": cursor})}
    began = time.perf_counter()
    async with session.get(url, params=asked) as answer:
        page: dict[str, Any] = await answer.json()
    return time.perf_counter() - began, page
