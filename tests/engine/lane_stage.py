"""A lane on an empty table, its sources and its cluster: for tests of what it does with what arrives."""

from __future__ import annotations

import asyncio
import json

from faust.types import TP

from replayer.engine.batch import Batch
from replayer.engine.engine import Engine
from replayer.engine.lane import Lane
from replayer.engine.position import Position, position_key
from tests.engine.counting import TABLE
from tests.engine.fakes import CHANGELOG, Cluster
from tests.engine.records import Rec
from tests.engine.stores import engine_at

A, B = TP("a", 0), TP("b", 0)


class Stage:
    """A lane opened on an empty table, its sources and its cluster."""

    def __init__(self, path, monkeypatch, logs, **options) -> None:
        monkeypatch.setattr("replayer.engine.engine.end_hard_after", lambda _: None)
        self.engine: Engine = engine_at(path, sources=[tp.topic for tp in logs], **options)
        self.cluster = Cluster(self.engine, monkeypatch, logs)
        self.store = self.engine.store(TABLE)
        self.store._db_for_partition(0)

    def recover(self):
        """What Faust and `replayer.engine.recovery` do before a lane opens."""
        rows = [(offset, *entry) for offset, entry in enumerate(self.cluster.changelog) if entry is not None]
        records = [Rec(offset, value, key) for offset, key, value in rows]
        self.store.apply(Batch(CHANGELOG, 0, records, 0, len(self.cluster.changelog), 0))

    async def open(self) -> Lane:
        self.recover()
        lane = Lane(self.engine, self.engine.specs[TABLE], 0, self.store)
        lane.outbox.producer = self.cluster.producer()
        await lane.outbox.producer.start()
        seeks = await lane.open()
        for tp, epoch in (await self.cluster.seek_to(seeks)).items():
            lane.sought(tp, epoch)
        lane.start()
        return lane

    async def feed(self, lane, until, seconds=20.0):
        """Deliver what a fetch brings until the condition holds."""
        async with asyncio.timeout(seconds):
            while not until():
                for tp in self.cluster.logs:
                    if tp not in self.cluster.suspended:
                        for batch in self.cluster.fetch(tp, count=5):
                            lane.deliver(batch)
                await asyncio.sleep(0.001)

    def stored(self):
        return {key: value for key, value in self.store._dbs[0].items() if not key.startswith(b"__")}

    def position(self, tp):
        value = self.store._dbs[0].get(position_key(tp.topic))
        return Position.decode(value).next if value else 0

    def done(self):
        return all(self.position(tp) == log.end for tp, log in self.cluster.logs.items())

    def heads(self):
        return [json.loads(value) for key, value in self.stored().items() if key.startswith(b"h")]

    def assert_exact(self):
        records = sum(len(log.records) for log in self.cluster.logs.values())
        assert sum(head["counted"] for head in self.heads()) == records
        assert sum(head["folded"] for head in self.heads()) == records
        assert sum(key.startswith(b"e") for key in self.stored()) == records
        assert self.cluster.rows() == self.stored(), "the changelog and the store say the same"
        if self.engine.config.exactly_once:
            assert self.cluster.offsets == {tp: log.end for tp, log in self.cluster.logs.items()}
