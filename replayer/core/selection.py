"""Which records a replay takes: looked at as bytes first, decoded only where that leaves it open."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from replayer.core.outcome import Record
from topics.codec import Event
from topics.commands import BetweenOffsets, BetweenTimes, ReplaySpec, SelectWorkflows
from topics.fields import micros

_SAID = re.compile(rb'"workflow_id"\s*:\s*"((?:[^"\\]|\\.)*)"')


class Selection(Protocol):
    """Chooses records in two steps. What `may_hold` turns away, `takes` would have turned away too."""

    def may_hold(self, record: Record) -> bool:
        """Whether the record has to be decoded to know; also true for what cannot be decoded and may be meant."""
        ...

    def takes(self, event: Event) -> bool: ...

    def partitions(self, count: int, partition_of: Callable[[bytes, int], int]) -> frozenset[int]:
        """Which of a source's `count` partitions can hold what is selected."""
        ...


class Everything:
    """Takes all there is."""

    def may_hold(self, record: Record) -> bool:
        return True

    def takes(self, event: Event) -> bool:
        return True

    def partitions(self, count: int, partition_of: Callable[[bytes, int], int]) -> frozenset[int]:
        return frozenset(range(count))


class Workflows:
    """Takes the events of some workflows.

    A producer may key a record otherwise than it should, and the timeline takes it all the same where it lies in the
    right partition; so the key can say yes at once, but only what the value says can say no.
    """

    def __init__(self, chosen: SelectWorkflows) -> None:
        self._wanted = frozenset((ref.tenant_id, ref.workflow_id) for ref in chosen.workflows)
        self._keys = frozenset(ref.workflow_id.encode() for ref in chosen.workflows)

    def may_hold(self, record: Record) -> bool:
        if record.key in self._keys:
            return True
        value = record.value
        if value is None:
            return record.key is None
        said = _SAID.findall(value)
        if not said:  # no event, or one that spells the field's name with escapes
            return record.key is None or b"\\u00" in value
        return any(name in self._keys or b"\\" in name for name in said) or b"\\u00" in value

    def takes(self, event: Event) -> bool:
        return (event.tenant_id, event.workflow_id) in self._wanted

    def partitions(self, count: int, partition_of: Callable[[bytes, int], int]) -> frozenset[int]:
        return frozenset(partition_of(key, count) for key in self._keys)


class InTime:
    """Another selection, held to log times [start, end) in microseconds.

    Offsets by time are exact only where the log's clock never went back; this makes them so for what lies between.
    """

    def __init__(self, inner: Selection, start_us: int | None, end_us: int | None) -> None:
        self._inner = inner
        self._start = start_us if start_us is not None else -(2**63)
        self._end = end_us if end_us is not None else 2**63

    def may_hold(self, record: Record) -> bool:
        return self._start <= record.timestamp * 1000 < self._end and self._inner.may_hold(record)

    def takes(self, event: Event) -> bool:
        return self._inner.takes(event)

    def partitions(self, count: int, partition_of: Callable[[bytes, int], int]) -> frozenset[int]:
        return self._inner.partitions(count, partition_of)


def selection(spec: ReplaySpec) -> Selection:
    """What a replay's spec selects, its range of time included."""
    chosen = spec.selection
    inner: Selection = Workflows(chosen) if isinstance(chosen, SelectWorkflows) else Everything()
    if isinstance(spec.range, BetweenOffsets):
        return inner
    start = micros(spec.range.start) if isinstance(spec.range, BetweenTimes) else None
    end = micros(spec.range.end) if spec.range.end is not None else None
    return inner if start is None and end is None else InTime(inner, start, end)
