"""A cluster as far as a lane can see it: source logs, a changelog, offsets, membership, and what may go wrong.

The engine, its store and its lanes are the real ones; the process tests next door run them on a real broker.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

from aiokafka.errors import IllegalStateError, ProducerFenced
from faust.types import TP

from tests.engine.counting import TABLE
from tests.engine.records import Log


class Cluster:
    """`mishaps` are taken one for each transaction: lost (raises, aborted), unknown (commits, then raises), ok."""

    def __init__(self, engine, monkeypatch, logs=None):
        self.engine = engine
        self.logs = logs or {}
        self.changelog = []  # (key, value); None for a marker
        self.offsets = {}
        self.sends = []
        self.member = [True]  # answers, the last one stays
        self.mishaps = []
        self.steps = []  # what each transaction moved: topic -> next offset
        self.epochs = defaultdict(int)
        self.nexts = {}
        self.seeks = []
        self.suspended = set()
        self.assigned = True
        self.producers = 0
        monkeypatch.setattr(type(engine), "consumer", property(lambda _: self))

    # -- the consumer, as the engine uses it

    async def seek_to(self, partitions):
        await asyncio.sleep(0)
        if not self.assigned:
            raise IllegalStateError
        for tp, offset in partitions.items():
            self.epochs[tp] += 1
            self.nexts[tp] = offset
            self.seeks.append((tp, offset))
        return {tp: self.epochs[tp] for tp in partitions}

    async def committed(self, tps):
        await asyncio.sleep(0)
        return {tp: self.offsets.get(tp) for tp in tps}

    async def is_member(self):
        await asyncio.sleep(0)
        return self.member.pop(0) if len(self.member) > 1 else self.member[0]

    async def highwaters(self, *tps):
        return {tp: len(self.changelog) if tp.topic.endswith("changelog") else self.logs[tp].end for tp in tps}

    async def ends(self, tps):
        return await self.highwaters(*tps)

    async def earliest_offsets(self, *tps):
        return dict.fromkeys(tps, 0)

    async def commit_offsets(self, offsets):
        self.offsets.update(offsets)
        return True

    def reached(self, tp):
        return self.nexts.get(tp)

    def group_error(self):
        return None

    def partition_count(self, topic):
        return None

    def suspend_fetching(self, tp):
        self.suspended.add(tp)

    def resume_fetching(self, tp):
        self.suspended.discard(tp)

    def fetch(self, tp, count=100, max_records=3):
        """What the consumer thread would hand on now."""
        batches = self.logs[tp].fetch(self.nexts[tp], count, self.epochs[tp], max_records)
        if batches:
            self.nexts[tp] = batches[-1].after
        for batch in batches:
            batch.topic, batch.partition = tp
        return batches

    # -- the producer of one lane

    def producer(self):
        return Producer(self)

    def rows(self):
        """The table as its changelog has it."""
        rows = {}
        for entry in self.changelog:
            if entry is not None:
                rows.pop(entry[0], None) if entry[1] is None else rows.update([entry])
        return rows


class Producer:
    def __init__(self, cluster):
        self.cluster = cluster
        self.started = False

    async def start(self):
        self.started = True
        self.cluster.producers += 1

    async def stop(self):
        self.started = False

    async def publish(self, rows, sends, offsets):
        assert self.started, "published with a producer that was stopped"
        cluster = self.cluster
        await asyncio.sleep(0)
        mishap = cluster.mishaps.pop(0) if cluster.mishaps else "ok"
        if mishap == "lost":
            cluster.changelog.append(None)
            raise ProducerFenced
        if mishap == "hang":
            await asyncio.sleep(3600)
        cluster.steps.append(dict(offsets))
        last = None
        if rows:
            cluster.changelog.extend(rows)
            last = len(cluster.changelog) - 1
            if cluster.engine.config.exactly_once:
                cluster.changelog.append(None)  # the commit marker
        cluster.sends.extend(sends)
        if cluster.engine.config.exactly_once:
            cluster.offsets.update({TP(topic, 0): offset for topic, offset in offsets.items()})
        if mishap == "unknown":
            raise ProducerFenced
        return last


def log_of(count, topic="t", keys=3):
    """A source log of `count` records."""
    log = Log(range(count), count)
    log.records = [type(r)(r.offset, r.value, b"k%d" % (r.offset % keys), topic) for r in log.records]
    return log


CHANGELOG = f"app-{TABLE}-changelog"
