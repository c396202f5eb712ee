"""Rows as the product's own folds make them, put into a fake cluster."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from replayer.core.faults import Faults, disturbed
from replayer.core.index import IndexFold
from replayer.core.indexing import indexed
from replayer.core.outcome import Folded, Folding, Record, Rows, whole
from replayer.core.replays import ReplaysFold
from replayer.core.simulation import Scenario, cases
from replayer.core.timeline import TimelineFold
from tests.serve.serve_cluster import PARTITIONS, TABLES, DictRows, World, partition_of
from topics.catalogue import TEMPLATE_USAGE
from topics.events import EventModel, event, topic_of, wire
from topics.fields import Model, micros

NOON = datetime(2025, 1, 31, 12, tzinfo=UTC)
NOW_MS = micros(NOON) // 1000


@dataclass(frozen=True)
class Rec:
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def _home(key: bytes) -> int:
    return partition_of(key.decode())


_timelines = TimelineFold(partition_of=_home, max_record_bytes=1 << 20)


def _indexed(rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folding:
    return indexed(_timelines.folding(rows, records, partition, now_ms))


_templates = IndexFold(partition_of=_home, max_record_bytes=1 << 20)
_replays = ReplaysFold(partition_of=_home)


def _table(topic: str) -> tuple[str, Callable[[Rows, Sequence[Record], int, int], Folding]]:
    if topic == TEMPLATE_USAGE.name:
        return "templates", _templates.folding
    return ("replays", _replays.folding) if topic.startswith("replay-") else ("timelines", _indexed)


class Log:
    """Appends records to a fake cluster's topics and folds them at once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ends: dict[tuple[str, int], int] = defaultdict(int)
        self._clock_ms = NOW_MS

    def append(self, topic: str, key: bytes, value: bytes) -> Folded:
        partition = partition_of(key.decode())
        offset = self._ends[topic, partition]
        self._ends[topic, partition] = offset + 1
        self._clock_ms += 1
        return self._fold(Rec(topic, partition, offset, self._clock_ms, key, value))

    def _fold(self, record: Record) -> Folded:
        table, folding = _table(record.topic)
        rows = self._world.rows[table, record.partition]
        folded = whole(folding(rows, [record], record.partition, NOW_MS))
        rows.write(folded.stored)
        for send in folded.sends:
            assert send.topic == TEMPLATE_USAGE.name, send
            assert send.key is not None
            assert send.value is not None
            self.append(send.topic, send.key, send.value)
        return folded

    def events(self, models: Iterable[EventModel]) -> None:
        for model in models:
            self.append(topic_of(model.event_type), model.workflow_id.encode(), wire(model))


def simulate(world: World, workflows: int = 60, seed: int = 7) -> None:
    """A lifelike workload: all families, several tenants, some duplicates and disorder."""
    for place, values in _simulated(workflows, seed).items():
        world.rows[place].write(list(values.items()))


@cache
def _simulated(workflows: int, seed: int) -> dict[tuple[str, int], dict[bytes, bytes]]:
    world = World({(table, number): DictRows() for table in TABLES for number in range(PARTITIONS)})
    log = Log(world)
    happenings = cases(random.Random(seed), Scenario(run="sim", start_us=micros(NOON), workflows=workflows))
    for emission in disturbed(happenings, random.Random(seed + 1), Faults(duplicates=0.05, disorder=0.1)):
        assert emission.value is not None
        log.append(emission.topic, emission.key, emission.value)
    return {place: rows.values for place, rows in world.rows.items()}


def happened(data: Model, workflow_id: str, number: int = 0, **envelope: object) -> EventModel:
    """An event of tenant acme, `number` seconds after noon."""
    stated: dict[str, object] = {
        "event_id": f"{workflow_id}-{number}",
        "workflow_id": workflow_id,
        "tenant_id": "acme",
        "occurred_at": NOON + timedelta(seconds=number),
        "source": "test",
        "agent_id": "support",
    }
    return event(data, **{**stated, **envelope})
