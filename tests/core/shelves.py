"""The index as tests make it and read it: of deliveries, by way of their timelines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from replayer.core import lookup
from replayer.core.index import IndexFold
from replayer.core.indexing import indexed
from replayer.core.lookup import Stretch
from replayer.core.outcome import whole
from replayer.core.page import Page, Position
from replayer.core.shelf import TEMPLATE, opened
from replayer.core.shelf_head import ShelfHead, together
from replayer.core.timeline import TimelineFold
from tests.core.timelines import arrived as arriving
from tests.core.timelines import at, document
from tests.drawn import Log, MemoryRows

WORKFLOWS = ("w", "v")
splits = st.lists(st.integers(1, 5), min_size=1, max_size=4)
timelines_of = TimelineFold(partition_of=lambda _: 0, max_record_bytes=1 << 20)
index = IndexFold(partition_of=lambda _: 0, max_record_bytes=1 << 20)


def told(sequence: Sequence[tuple[str, bytes]], batches: Sequence[int] = (1000,)) -> tuple[MemoryRows, list[Log]]:
    """The timelines of these deliveries, and the usage their steps tell of, as it lies in its log."""
    timelines, usage, records = MemoryRows(), [], arriving(sequence)
    done, turn = 0, 0
    while done < len(records):
        size = batches[turn % len(batches)]
        folded = whole(indexed(timelines_of.folding(timelines, records[done : done + size], 0, 0)))
        timelines.write(folded.stored)
        usage += [(send.key, send.value) for send in folded.sends if send.topic == "template-usage"]
        done, turn = done + size, turn + 1
    return timelines, in_log(usage)


def in_log(usage: Sequence[tuple[bytes, bytes]]) -> list[Log]:
    return [Log("template-usage", offset, value, key=key) for offset, (key, value) in enumerate(usage)]


def fold(rows: MemoryRows, records: Sequence[Log]) -> list[tuple[bytes, bytes | None]]:
    folded = index.fold(rows, records, 0, 0)
    assert not folded.sends
    return folded.rows


def built(usage: Sequence[Log], batches: Sequence[int] = (1000,)) -> MemoryRows:
    rows, done, turn = MemoryRows(), 0, 0
    while done < len(usage):
        size = batches[turn % len(batches)]
        rows.write(fold(rows, usage[done : done + size]))
        done, turn = done + size, turn + 1
    return rows


def thing(rows: MemoryRows, kind: bytes, name: str, version: str | None = None) -> ShelfHead:
    return together(head for _, _, head in lookup.shelves(rows, kind, name, version))


def pages(
    rows: MemoryRows, kind: bytes, name: str | None, version: str | None, outcome: str | None = None, limit: int = 1000
) -> list[dict[str, Any]]:
    def ask(after: Position | None) -> Page:
        return lookup.list_decisions(rows, kind, name, version, outcome, Stretch(), after, limit)

    return walked(ask)


def walked(ask: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    page = ask(None)
    while True:
        items += page.items
        if page.next is None:
            return items
        page = ask(page.next)


def invoked(second: int, **fields: Any) -> dict[str, Any]:
    data = {"provider": "p", "model": "m", "prompt_template": {"template_id": "t", "version": "1"}, **fields}
    return document("model.invocation_completed", event_id=f"e{second}", occurred_at=at(second), data=data)


def listed(rows: MemoryRows, name: str | None, limit: int, most: int) -> list[tuple[bytes, ShelfHead]]:
    """All heads of templates, page by page, so many looked at in a step."""
    found: list[tuple[bytes, ShelfHead]] = []
    after: Position | None = None
    while True:
        heads = lookup.Heads(TEMPLATE, name, after, limit)
        while heads.step(rows, most):
            pass
        groups = {opened(key).name if name is None else opened(key).version for key, _ in heads.found}
        assert len(groups) <= limit
        found += heads.found
        if heads.upto is None:
            return found
        after = heads.upto
