"""The native fold beside Python's: whatever one answers, the other does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import msgspec
import orjson

from replayer.core.indexing import indexed
from replayer.core.outcome import Folded, Folding, Record, Rows, whole
from replayer.core.rows import CORRELATION, TRACE, opened
from replayer.core.timeline import TimelineFold
from replayer.native.fold import NativeFold
from replayer.native.library import Library
from tests.core.timelines import TOPICS
from tests.drawn import Log, MemoryRows
from topics.catalogue import TEMPLATE_USAGE
from topics.usage import Standing, Usage, Use

LIMIT = 1 << 20


@cache
def library() -> Library:
    return Library(LIMIT)


class Spied(TimelineFold):
    """Python's fold, which notes what was left to it."""

    left = 0  # records

    def folding_groups(self, rows: Rows, groups: Sequence[Sequence[Record]], partition: int, now_ms: int) -> Folding:
        self.left += sum(map(len, groups))
        return super().folding_groups(rows, groups, partition, now_ms)

    def folding_in_order(self, rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folding:
        self.left += len(records)
        return super().folding_in_order(rows, records, partition, now_ms)


class Both:
    """Both folds over the same rows; `taken` of `all` records were folded by native code."""

    def __init__(self, partition_of: Callable[[bytes], int] = lambda _: 0) -> None:
        python = TimelineFold(partition_of=partition_of, max_record_bytes=LIMIT)
        self._python = lambda *step: whole(indexed(python.folding(*step)))
        self._spy = Spied(partition_of=partition_of, max_record_bytes=LIMIT)
        self._native = NativeFold(partition_of=partition_of, max_record_bytes=LIMIT, indexed=True, library=library())
        self._native._python = self._spy
        self.all = 0

    @property
    def taken(self) -> int:
        return self.all - self._spy.left

    def fold(self, rows: MemoryRows, records: Sequence[Log], partition: int = 0, now_ms: int = 7) -> Folded:
        """Python's answer; fails where the native fold's is another."""
        kept = dict(rows)
        expected = self._python(rows, records, partition, now_ms)
        found = self._native.fold(rows, records, partition, now_ms)
        assert rows == kept
        self.all += len(records)
        assert same(expected) == same(found)
        kinds = [key[:1] for key, _ in found.rows]
        assert kinds == sorted(kinds, key=lambda kind: b"eidh".index(b"h" if kind in (TRACE, CORRELATION) else kind))
        assert len(dict(found.rows)) == len(found.rows)
        return expected

    def materialised(self, records: Sequence[Log], batches: Sequence[int] = (1000,)) -> MemoryRows:
        """All records folded, in batches of these sizes, over and over."""
        rows, done, turn = MemoryRows(), 0, 0
        while done < len(records):
            size = batches[turn % len(batches)]
            rows.write(self.fold(rows, records[done : done + size]).stored)
            done, turn = done + size, turn + 1
        return rows


def same(folded: Folded) -> tuple[object, ...]:
    """What both folds must agree on: rows in their order but for that of the workflows, sends in any order, and what
    they say was used in any grouping.
    """
    events: dict[bytes, list[tuple[bytes, bytes | None]]] = {}
    for key, value in folded.rows:
        events.setdefault(b"\0".join(key.split(b"\0")[:2]), []).append((key, value))
    sends = sorted((send for send in folded.sends if send.topic != TEMPLATE_USAGE.name), key=repr)
    assert all(folded.counts.values())
    return events, len(folded.rows), dict(folded.implied), len(folded.implied), sends, said(folded), folded.counts


Said = dict[bytes, tuple[list[Use], dict[tuple[str, str, str], tuple[int, int]], list[Standing]]]
"""By shelf: uses, when decisions met the thing first and last, standings."""


def said(folded: Folded) -> Said:
    """What a step says was used."""
    found: Said = {}
    for send in folded.sends:
        if send.topic == TEMPLATE_USAGE.name:
            assert send.key is not None
            assert send.value is not None
            assert (send.partition, send.headers) == (None, ())
            usage = msgspec.msgpack.decode(opened("usage", send.value), type=Usage)
            assert 0 < max(map(len, (usage.uses, usage.touches, usage.standings))) <= 1000
            uses, touches, standings = found.setdefault(send.key, ([], {}, []))
            uses += usage.uses
            standings += usage.standings
            for touch in usage.touches:
                name, at = (touch.tenant_id, touch.workflow_id, touch.decision_id), (touch.occurred_us, touch.last_us)
                first, last = touches.get(name, at)
                touches[name] = min(first, at[0]), max(last, at[1])
    for uses, _, standings in found.values():
        uses.sort(key=repr)
        standings.sort(key=repr)
    return found


def keyed(records: Sequence[Log]) -> list[Log]:
    """The records with their workflows' ids as keys, as producers send them."""
    return [replace(record, key=orjson.loads(record.value or b"")["workflow_id"].encode()) for record in records]


def logged(values: Sequence[tuple[str, bytes, bytes | None]]) -> list[Log]:
    """(topic, value, key) as records with the offsets their topics give them in this order."""
    ends = dict.fromkeys(TOPICS, 0)
    records = []
    for n, (topic, value, key) in enumerate(values):
        records.append(Log(topic, ends[topic], value, key=key, timestamp=1_738_324_800_000 + n))
        ends[topic] += 1
    return records
