"""The fold of `template-usage` into the `templates` table: one batch of records to rows.

What holds, whatever is repeated, comes in another grouping or order, or is folded again after a crash:
  - a use counts once: by its event, in the record that brought it first;
  - of a decision's standings the one with the highest version counts, and the head by the difference to the one before;
  - a decision stands at the time of its first use;
  - head and contributions each keep how far they have applied the topic: where the changelog has the rows of a batch up
    to any cut (heads first, contributions last), folding the batch again completes it and counts nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from replayer.core import shelf_head
from replayer.core.deadletters import dead_letter
from replayer.core.errors import DamagedRow
from replayer.core.outcome import Folded, Folding, Record, Rows, whole
from replayer.core.rows import opened
from replayer.core.shelf import POLICY, TEMPLATE
from replayer.core.shelf import opened as shelf_of
from replayer.core.shelf_head import ShelfHead, decode_shelf_head, encode_shelf_head, millionths
from replayer.core.shelf_rows import (
    NOTHING,
    ORDER,
    Contribution,
    Place,
    contribution_key,
    decode_contribution,
    decode_place,
    encode_contribution,
    encode_place,
    evaluation_key,
    head_key,
    time_key,
    use_key,
    who,
    workflow_key,
)
from topics import deadletter
from topics.usage import Standing, Touch, Usage, Use

_AT_A_TIME = 4  # records: each may be of a thousand uses

_decode = msgspec.msgpack.Decoder(Usage).decode


class IndexFold:
    """Folds records of one partition. `partition_of`: a shelf's key to the partition it belongs to."""

    def __init__(self, *, partition_of: Callable[[bytes], int], max_record_bytes: int) -> None:
        self._partition_of, self._max_record_bytes = partition_of, max_record_bytes

    def folding(self, rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folding:
        """Rows in the order of `shelf_rows.ORDER`, and dead letters of what is no usage.

        Pure. Raises UnknownRowFormat or DamagedRow where a row cannot be read, and for a record of a newer release: to
        bury what it says would leave the index without it for good.
        """
        batch = _Batch(rows)
        for start in range(0, len(records), _AT_A_TIME):
            for record in records[start : start + _AT_A_TIME]:
                refused = self._take(batch, record, partition)
                if refused is not None:
                    batch.folded.sends.append(
                        dead_letter(record, *refused, max_bytes=self._max_record_bytes, now_ms=now_ms)
                    )
                    batch.count("dead_letter")
            yield
        return batch.finish()

    def fold(self, rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folded:
        """`folding` without pauses."""
        return whole(self.folding(rows, records, partition, now_ms))

    def _take(self, batch: _Batch, record: Record, partition: int) -> tuple[str, str, str] | None:
        """Reason, class and detail where the record is not one for this table."""
        if not record.key or not record.value:
            return deadletter.UNDECODABLE, "NullValue", "a record of the usage has a key and a value"
        try:
            kind = shelf_of(record.key).kind
        except DamagedRow:
            return deadletter.INVALID, "UnknownShelf", "the key is no shelf of the index"
        if (owner := self._partition_of(record.key)) != partition:
            return deadletter.MISROUTED, "WrongPartition", f"the shelf belongs to partition {owner} (murmur2)"
        try:
            usage = _decode(opened("usage", record.value))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return deadletter.UNDECODABLE, "MalformedUsage", "the value is no usage"
        batch.take(record.key, kind, record.offset, usage)
        return None


class _Batch:
    """The rows that a batch touches: read once, written once."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self.folded = rows, Folded()
        self._read: dict[bytes, bytes | None] = {}
        self._heads: dict[bytes, ShelfHead] = {}
        self._contributions: dict[bytes, Contribution] = {}
        self._written: dict[bytes, bytes | None] = {}

    def count(self, name: str, number: int = 1) -> None:
        self.folded.counts[name] = self.folded.counts.get(name, 0) + number

    def take(self, shelf: bytes, kind: bytes, offset: int, usage: Usage) -> None:
        """Apply one record. Its offset is what rows are compared with."""
        places = {self._place_key(shelf, kind, use): use for use in usage.uses}
        deciding = [*usage.touches, *usage.standings, *(usage.uses if kind != POLICY else ())]
        decisions = {contribution_key(shelf, name): name for name in dict.fromkeys(map(_who, deciding))}
        self._look_up([head_key(shelf), *places, *decisions])
        head = self._head(shelf)
        counts = head.applied <= offset  # else the head has it already, and only what follows has to catch up
        new = [(key, use) for key, use in places.items() if self._brought(key, offset)]
        for key, use in new:
            place = Place(use.topic, use.partition, use.offset, use.index, use.detail, offset)
            self._written[key] = encode_place(place)
            if counts:
                shelf_head.seen(head, use.tenant_id, use.occurred_us, use.occurred_us)
                (shelf_head.count_evaluation if kind == POLICY else shelf_head.count_use)(head, use.detail)
        if kind != POLICY:
            self._decide(shelf, kind, offset, usage, [use for _, use in new], decisions, head if counts else None)
        if counts:
            head.applied = offset + 1
            self.count("folded")
        else:
            self.count("reprocessed")
        if len(new) < len(usage.uses):
            self.count("duplicate", len(usage.uses) - len(new))

    def _place_key(self, shelf: bytes, kind: bytes, use: Use) -> bytes:
        if kind == POLICY:
            return evaluation_key(shelf, str(use.detail[0]), use.occurred_us, _who(use), use.event_id, use.variant)
        return use_key(shelf, _who(use), use.occurred_us, use.event_id, use.variant)

    def _brought(self, key: bytes, offset: int) -> bool:
        """Whether this record brought it first: now, or before a crash."""
        value = self._get(key)
        return value is None or decode_place(value).brought == offset

    def _decide(
        self, shelf: bytes, kind: bytes, offset: int, usage: Usage, uses: list[Use], decisions: dict[bytes, bytes],
        head: ShelfHead | None,
    ) -> None:  # fmt: skip
        """Contributions of the record's decisions, with their rows by time. `head`: None where it has the record."""
        changed: dict[bytes, dict[str, Any]] = {}
        before = {name: self._contribution(key) for key, name in decisions.items()}
        open_ = {name: known for name, known in before.items() if known.applied <= offset}
        met: list[Use | Touch] = [*uses, *usage.touches]
        for one in met:
            name = _who(one)
            if name in open_:
                said, known = changed.setdefault(name, {}), open_[name]
                first = said.get("first_us", known.first_us if known.uses else one.occurred_us)
                said["first_us"] = min(first, one.occurred_us)
                said["uses"] = said.get("uses", known.uses) + 1 if kind == TEMPLATE else 1
        if head is not None:
            for touch in usage.touches:
                shelf_head.seen(head, touch.tenant_id, touch.occurred_us, touch.last_us)
        for standing in usage.standings:
            name = _who(standing)
            if name in open_ and standing.version > changed.get(name, {}).get("version", open_[name].version):
                changed.setdefault(name, {}).update(
                    version=standing.version,
                    status=standing.status,
                    overridden=standing.overridden,
                    outcomes=standing.outcomes,
                    feedbacks=standing.feedbacks,
                    score=millionths(standing.score),
                    label=standing.label,
                )
        for name, said in changed.items():
            old = open_[name]
            new = msgspec.structs.replace(old, applied=offset + 1, **said)
            if msgspec.structs.replace(new, applied=old.applied) == old:
                continue  # nothing that it did not know: as good as applied
            self._move(shelf, name, old, new, head)

    def _move(self, shelf: bytes, name: bytes, old: Contribution, new: Contribution, head: ShelfHead | None) -> None:
        """From one contribution to the next: its row, its place in time, its share of the head."""
        before, after = _times(shelf, name, old), _times(shelf, name, new)
        self._written |= dict.fromkeys(before - after) | dict.fromkeys(after - before, NOTHING)
        if new.uses and not old.uses:
            workflow = workflow_key(shelf, name)
            if self._get(workflow) is None:
                self._written[workflow] = NOTHING
                if head is not None:
                    head.workflows += 1
        if head is not None:
            shelf_head.take_out(head, old)
            shelf_head.put_in(head, new)
        key = contribution_key(shelf, name)
        self._contributions[key] = new
        self._written[key] = encode_contribution(new)

    # -- rows, as far as they are known

    def _look_up(self, keys: Iterable[bytes]) -> None:
        missing = [key for key in keys if key not in self._read and key not in self._written]
        self._read.update(zip(missing, self._rows.get_many(missing), strict=True))

    def _get(self, key: bytes) -> bytes | None:
        if key in self._written:
            return self._written[key]
        if key not in self._read:
            self._read[key] = self._rows.get(key)
        return self._read[key]

    def _head(self, shelf: bytes) -> ShelfHead:
        head = self._heads.get(shelf)
        if head is None:
            value = self._get(head_key(shelf))
            head = self._heads[shelf] = ShelfHead() if value is None else decode_shelf_head(value)
        return head

    def _contribution(self, key: bytes) -> Contribution:
        known = self._contributions.get(key)
        if known is None:
            value = self._get(key)
            known = self._contributions[key] = Contribution() if value is None else decode_contribution(value)
        return known

    def finish(self) -> Folded:
        rows: list[tuple[bytes, bytes | None]] = [
            (head_key(shelf), encode_shelf_head(head)) for shelf, head in self._heads.items()
        ]
        rows += sorted(self._written.items(), key=lambda row: ORDER.index(row[0][:1]))
        self.folded.rows = rows
        return self.folded


def _who(one: Use | Touch | Standing) -> bytes:
    return who(one.tenant_id, one.workflow_id, one.decision_id)


def _times(shelf: bytes, name: bytes, contribution: Contribution) -> set[bytes]:
    """The rows by time of a decision; none where it has not used the thing."""
    if not contribution.uses:
        return set()
    return {time_key(shelf, outcome, contribution.first_us, name) for outcome in ("", *contribution.outcomes)}
