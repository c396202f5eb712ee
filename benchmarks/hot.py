"""One hot workflow: what an event costs as its timeline grows, and what a page of that timeline takes.

All events are of one workflow, so of one partition and one lane. Cost: processor time of the worker per event, by
tenths of the events; the first tenth is the warm-up. Pages are asked for over HTTP, one after the other, when all is
folded: PAGE events from some instant at the start, the middle and the end of the timeline, another instant each time,
and the same of a small workflow beside it.

Not measured: pages while the worker folds, orders other than by occurrence, cursors (each goes on from an instant too).
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence

import aiohttp

from benchmarks.cluster import cluster
from benchmarks.latency import percentile
from benchmarks.progress import Progress
from benchmarks.rate import NotMeasurable, Sample, advances
from benchmarks.results import Figure, Results
from benchmarks.watch import Shares, Watch
from benchmarks.worker import deployed, ready_worker
from benchmarks.workload import START_US, STEP_US, fill, workload
from replayer.core import sizes
from replayer.core.sizes import Size
from topics.fields import rfc3339

PAGE = 50
_PAGES = 100
_SMALL = 200  # events of the small workflow
_OF = "last three tenths / second to fourth, CPU per event"
_HOT_NAME, _SMALL_NAME = b"w0000000", b"w-small0"
_TENANT = "t1"


def tenths(samples: Sequence[Sample], events: int) -> list[tuple[float, float]]:
    """For each tenth of the events: µs of processor time per event, and events a second.

    Each tenth goes from the first sample at or behind its begin to that at or behind its end; the first one from the
    last sample without any. Raises NotMeasurable
    where a tenth has no two samples, for then it was over too soon.
    """
    seen = advances(samples)
    marks = [next((one for one in seen if one.committed >= events * n / 10), None) for n in range(1, 11)]
    first = next((one for one in reversed(samples) if one.committed == 0), None)
    found = []
    for before, after in zip([first, *marks], marks, strict=False):
        if before is None or after is None or after.committed <= before.committed:
            raise NotMeasurable("a tenth of the events was over between two polls: more events are needed")
        count = after.committed - before.committed
        found.append(((after.cpu_s - before.cpu_s) * 1e6 / count, count / (after.at - before.at)))
    return found


def flatness(costs: Sequence[float]) -> float:
    """The mean of the last three tenths over that of the second to the fourth: compactions come in bursts."""
    return statistics.fmean(costs[-3:]) / statistics.fmean(costs[1:4])


async def hot(events: int, size: Size, results: Results, progress: Progress) -> None:
    """Record the flatness of an event's cost, and the time of a page at three places."""
    topic = sizes.topic(size)
    async with cluster() as broker, deployed(broker.bootstrap, "hot", rate_limit_per_s=1_000_000) as deployment:
        partitions, url = deployment.settings.partitions, deployment.settings.url
        with progress.counting(f"hot: writing {events:,} events of one workflow", events) as moved:
            one = workload(size, events, active=1, per_workflow=events)
            await fill(broker.bootstrap, topic, partitions, one, moved)
        watch = Watch(broker, deployment.settings.app_id, topic, partitions)
        async with ready_worker(deployment) as program:
            shares = Shares(broker=broker.pid, worker=program.pid)
            with progress.waiting(f"hot: folding {events:,} events of one workflow"):
                await watch.follow(program.pid, lambda seen: bool(seen) and seen[-1].committed >= events)
            cores = shares.cores()
            small = [
                (_SMALL_NAME, value.replace(_HOT_NAME, _SMALL_NAME))
                for _, value in workload(size, _SMALL, active=1, per_workflow=_SMALL)
            ]
            await fill(broker.bootstrap, topic, partitions, small, lambda _: None)
            await watch.follow(program.pid, lambda seen: seen[-1].committed >= events + _SMALL)
            with progress.waiting(f"hot: {_PAGES} pages at each place"):
                pages = await _pages(url, events)
    costs = tenths(watch.samples, events)
    detail = {
        "events": events,
        "us_per_event_by_tenth": [round(cost, 1) for cost, _ in costs],
        "events_per_s_by_tenth": [round(rate) for _, rate in costs],
        "cores": cores,
        "disturbed_cores": cores["others"],
        "workload": f"{size} events of one workflow",
    }
    progress.say(f"hot: {', '.join(f'{cost:.0f}' for cost, _ in costs)} µs CPU/event by tenths")
    results.record(Figure("hot.flatness", flatness([cost for cost, _ in costs]), "x", {**detail, "of": _OF}))
    for place, seconds in pages.items():
        found = {"p99_ms": round(percentile(seconds, 0.99) * 1000, 2), "pages": len(seconds), "events_a_page": PAGE}
        middle = statistics.median(seconds) * 1000
        progress.say(f"hot: a page of {PAGE}, {place}: {middle:.2f} ms")
        results.record(Figure(f"hot.page_ms_{place}", middle, "ms", found))
    slowest = max(statistics.median(seconds) for place, seconds in pages.items() if place != "small")
    growth = slowest / statistics.median(pages["small"])
    results.record(Figure("hot.page_growth", growth, "x", {"of": "slowest place / the small workflow, median page"}))


async def _pages(url: str, events: int) -> dict[str, list[float]]:
    """Seconds of each page, by place, asked for in turns."""
    chance = random.Random(1)
    last = events - PAGE
    places = {
        "start": (_HOT_NAME, 0, events // 100),
        "middle": (_HOT_NAME, events * 49 // 100, events * 51 // 100),
        "end": (_HOT_NAME, last - events // 100, last),
        "small": (_SMALL_NAME, 0, _SMALL - PAGE),
    }
    taken: dict[str, list[float]] = {place: [] for place in places}
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        for turn in range(_PAGES + 3):
            for place, (workflow, least, most) in places.items():
                since = rfc3339(START_US + chance.randint(least, most) * STEP_US)
                asked = {"tenant": _TENANT, "limit": str(PAGE), "from": since}
                began = time.perf_counter()
                async with session.get(f"{url}/v1/workflows/{workflow.decode()}/timeline", params=asked) as answer:
                    page = await answer.json()
                spent = time.perf_counter() - began
                if len(page["items"]) != PAGE:
                    raise NotMeasurable(f"a page at the {place} has {len(page['items'])} events, not {PAGE}")
                if turn >= 3:
                    taken[place].append(spent)
    return taken
