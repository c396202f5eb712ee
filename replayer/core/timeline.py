"""The fold of events into timelines: one batch of records to rows, dead letters and counts.

What holds (docs/decisions/003):
  - one identity, one row: (tenant, workflow, event_id) across topics. The same content again is a duplicate, other
    content under the same id a variant: both stand, the workflow is marked as in conflict;
  - a source position counts once. The head keeps the positions it has applied, and so does every decision: where the
    changelog has the rows of a batch up to any cut, folding the batch again completes it and counts nothing twice;
  - late is what occurred before something that stands earlier in the same log: an order its producer gave. Between logs
    there is none to be late against, and a rebuild, which reads them in another turn, gives the same marks;
  - a workflow's first event decides that its partition is the right one: else it is a dead letter, `misrouted`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from replayer.core import decisions as decision_rules
from replayer.core import head as head_rules
from replayer.core.deadletters import dead_letter
from replayer.core.decisions import Decision, decode_decision, encode_decision
from replayer.core.head import Head, Rank, Used, decode_head, encode_head
from replayer.core.implied import threads
from replayer.core.outcome import Folded, Folding, Record, Rows, whole
from replayer.core.rows import (
    FIRST,
    FORMAT_BYTE,
    FUTURE,
    LATE,
    MAX_INLINE,
    NUL,
    VARIANT_BYTES,
    Sighting,
    decision_key,
    decode_sightings,
    encode_event,
    encode_sightings,
    event_key,
    head_key,
    identity_key,
    thread_key,
    workflow_prefix,
)
from topics import deadletter
from topics.bounds import Limits
from topics.codec import Undecodable, read
from topics.fast import Event
from topics.projection import projected

#: Records decoded and folded before the next ones are decoded: what they are made of is still in the processor's
#: caches then, and its memory is used again. Next to a busy broker a worker was a fifth slower with 1,000 at a time.
_AT_A_TIME = 60

_sha256 = hashlib.sha256


class _Workflow:
    """A workflow while a batch is folded: its rows decoded once, encoded once."""

    __slots__ = ("asked", "beyond", "decided", "decisions", "head", "key", "name", "prefix", "shares", "touched")

    def __init__(self, tenant_id: str, workflow_id: str) -> None:
        self.name = workflow_id.encode()
        self.key = head_key(tenant_id, workflow_id)
        self.prefix = workflow_prefix(tenant_id, workflow_id)
        self.head: Head | None = None
        self.touched = False
        self.shares = 0  # of the digest: what was folded since the head was read
        self.asked: set[str] = set()  # the decisions the table was asked for
        self.decisions: dict[str, Decision] = {}
        self.decided: dict[str, None] = {}  # the decisions that changed
        self.beyond: head_rules.Threads = {}  # which the head has no room for


_Decoded = tuple[Record, Event, bytes, _Workflow, bytes]
"""A record, its event, the event's content, its workflow, and the key of its identity row."""


class TimelineFold:
    """Folds source records of one partition into the rows of the `timelines` table.

    `partition_of`: UTF-8 bytes of a workflow id to the partition it belongs to. `max_record_bytes`: records above it
    become dead letters without being looked into.
    """

    def __init__(
        self,
        *,
        partition_of: Callable[[bytes], int],
        max_record_bytes: int,
        limits: Limits | None = None,
    ) -> None:
        self._partition_of = partition_of
        self._limits = limits or Limits(max_record_bytes=max_record_bytes)

    def folding(self, rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folding:
        """Rows (events, then identities, decisions, heads) and dead letters of a batch.

        Records of one topic come in the order of their offsets; topics may be mixed in any way. Pure: the same
        arguments, the same answer. Raises UnknownRowFormat or DamagedRow where a row of the table cannot be read.
        """
        groups = by_key(records).values()
        try:
            return (yield from self.folding_groups(rows, groups, partition, now_ms))
        except KeyedOtherwise:  # a workflow's records may stand in more than one group
            return (yield from self.folding_in_order(rows, records, partition, now_ms))

    def folding_groups(self, rows: Rows, groups: Iterable[Sequence[Record]], partition: int, now_ms: int) -> Folding:
        """As `folding`, of records that are grouped by key. Raises KeyedOtherwise as well."""
        records = [record for group in groups for record in group]
        return self._folding(rows, records, partition, now_ms, grouped=True)

    def folding_in_order(self, rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folding:
        """As `folding`, whatever the records' keys are."""
        return self._folding(rows, records, partition, now_ms, grouped=False)

    def _folding(self, rows: Rows, records: Sequence[Record], partition: int, now_ms: int, grouped: bool) -> Folding:
        batch = _Batch(self._partition_of, self._limits, rows, partition, now_ms, grouped)
        for start in range(0, len(records), _AT_A_TIME):
            batch.take(records[start : start + _AT_A_TIME])
            yield
        return batch.finish()

    def fold(self, rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folded:
        """`folding` without pauses."""
        return whole(self.folding(rows, records, partition, now_ms))


def by_key(records: Sequence[Record]) -> dict[bytes | None, list[Record]]:
    """The records of each key in the order they came.

    Folded one key behind the other, a workflow's head and decisions are in the processor's caches: with a thousand
    workflows in turn, that was a quarter of a worker's time.
    """
    groups: dict[bytes | None, list[Record]] = {}
    for record in records:
        group = groups.get(record.key)
        if group is None:
            groups[record.key] = [record]
        else:
            group.append(record)
    return groups


class KeyedOtherwise(Exception):
    """A record whose key is not its event's workflow id: the order within keys is not the order within workflows."""


class _Batch:
    def __init__(
        self,
        partition_of: Callable[[bytes], int],
        limits: Limits,
        rows: Rows,
        partition: int,
        now_ms: int,
        grouped: bool,
    ) -> None:
        self._partition_of, self._limits, self._grouped = partition_of, limits, grouped
        self._rows, self._partition, self._now_ms = rows, partition, now_ms
        self._workflows: dict[tuple[str, str], _Workflow] = {}
        self._strangers: list[_Workflow] = []  # of which the table has not been asked yet
        self._identities: dict[bytes, list[Sighting]] = {}
        self._new: dict[bytes, None] = {}  # identities that follow from an event row of this batch
        self._noted: dict[bytes, None] = {}  # those that do not, in the order they came
        self._out = Folded()
        self._topics: dict[str, bytes] = {}
        self._counts = dict.fromkeys(("folded", "duplicate", "variant", "reprocessed", "late", "dead_letter"), 0)

    def take(self, records: Sequence[Record]) -> None:
        decoded = self._decode(records)
        self._look_up(decoded)
        counts = self._counts
        for record, event, content, workflow, identity in decoded:
            head = workflow.head
            if head is None and (head := self._begin(workflow, record, event)) is None:
                continue
            topic, offset = record.topic, record.offset
            if offset < head.applied.get(topic, 0):
                counts["reprocessed"] += 1
                continue
            workflow.touched = True
            self._fold_one(workflow, head, record, event, content, identity)
            head.applied[topic] = offset + 1

    def _decode(self, records: Sequence[Record]) -> list[_Decoded]:
        decoded: list[_Decoded] = []
        workflows, limits = self._workflows, self._limits
        for record in records:
            found = read(record.value, limits=limits, headers=record.headers)
            if isinstance(found, Undecodable):
                self._bury(record, found.reason, found.error_class, found.detail)
                continue
            event, content = found
            name = (event.tenant_id, event.workflow_id)
            workflow = workflows.get(name)
            if workflow is None:
                workflow = workflows[name] = _Workflow(*name)
                self._strangers.append(workflow)
            if self._grouped and record.key != workflow.name:
                raise KeyedOtherwise
            decoded.append((record, event, content, workflow, identity_key(workflow.prefix, event.event_id)))
        return decoded

    def _look_up(self, decoded: Sequence[_Decoded]) -> None:
        """What the table knows of these workflows, event ids and decisions, where the batch does not know better.

        Identities and decisions also where there is no head yet: they may be of a torn batch that was to begin it, and
        to believe one of them and not the other would count an event twice.
        """
        workflows, self._strangers = self._strangers, []
        for workflow, value in zip(workflows, self._rows.get_many([w.key for w in workflows]), strict=True):
            if value is not None:
                workflow.head = decode_head(value)
        known, identities = self._identities, dict[bytes, None]()
        wanted: dict[bytes, tuple[_Workflow, str]] = {}
        for _, event, _, workflow, identity in decoded:
            if identity not in known:
                identities[identity] = None
            decision = event.decision_id or ""
            if decision not in workflow.asked:
                workflow.asked.add(decision)
                wanted[decision_key(workflow.prefix, decision)] = (workflow, decision)
        values = self._rows.get_many([*identities, *wanted])
        for identity, value in zip(identities, values, strict=False):
            if value is not None:
                self._identities[identity] = decode_sightings(value)
        for (workflow, decision), value in zip(wanted.values(), values[len(identities) :], strict=True):
            if value is not None:
                workflow.decisions[decision] = decode_decision(value)

    def _begin(self, workflow: _Workflow, record: Record, event: Event) -> Head | None:
        """The head of a workflow seen for the first time; None where it does not belong here."""
        owner = self._partition_of(workflow.name)
        if owner != self._partition:
            self._bury(
                record, deadletter.MISROUTED, "WrongPartition", f"workflow_id belongs to partition {owner} (murmur2)"
            )
            return None
        workflow.head = Head(event.tenant_id, event.workflow_id)
        return workflow.head

    def _fold_one(
        self, workflow: _Workflow, head: Head, record: Record, event: Event, content: bytes, identity: bytes
    ) -> None:
        content_hash = _sha256(content).digest()
        occurred_us, variant = event.occurred_us, content_hash[:VARIANT_BYTES]
        rank: Rank = (occurred_us, event.event_id, variant)
        topic, offset = record.topic, record.offset
        marks = self._first_of_its_kind(identity, head, record, rank)
        if marks is None:
            head.duplicates += 1
            self._counts["duplicate"] += 1
            return
        projection = projected(event, content)
        if event.future:
            marks |= FUTURE
        reached = head.reached.get(topic)
        if reached is not None and occurred_us < reached:
            marks |= LATE
            head.late += 1
            self._counts["late"] += 1
        else:
            head.reached[topic] = occurred_us
        # Never back, never twice the same: a reader that goes by it loses nothing that is added behind it.
        head.commit_us = commit_us = max(record.timestamp * 1000, head.commit_us + 1)
        projection_hash = content_hash if projection is content else _sha256(projection).digest()
        workflow.shares += int.from_bytes(projection_hash, "big")
        used = head_rules.used(event)
        head_rules.apply(head, event, rank, used, workflow.beyond)
        self._decide(workflow, topic, offset, event, rank, used)
        encoded = self._topics.get(topic)
        if encoded is None:
            encoded = self._topics[topic] = topic.encode()
        row = encode_event(marks, commit_us, encoded, record.partition, offset, 0, projection)
        self._out.rows.append((event_key(workflow.prefix, occurred_us, event.event_id, variant), row))
        self._counts["folded"] += 1

    def _first_of_its_kind(self, key: bytes, head: Head, record: Record, rank: Rank) -> int | None:
        """The mark of its row, FIRST or 0, where its variant was first seen in this record: now, or before a crash.

        None: a duplicate. A second variant counts as a conflict when it is the second one the head has folded.
        """
        occurred_us, _, variant = rank
        sightings = self._identities.get(key)
        if sightings is None:
            self._identities[key] = [_sighting(record, variant, occurred_us)]
            self._new[key] = None
            return FIRST
        for seen in sightings:
            if seen.variant == variant:
                if not seen.at(record.topic, record.offset):
                    return None
                break
        else:
            if len(sightings) >= MAX_INLINE:
                return self._first_of_many(key, record, variant, occurred_us)
            sightings.append(_sighting(record, variant, occurred_us))
            self._noted[key] = None
        if len(sightings) == 1:
            return FIRST
        self._counts["variant"] += 1
        applied = head.applied
        others = [s for s in sightings if s.variant != variant and s.offset < applied.get(s.topic, 0)]
        if len(others) == 1:
            head.conflicts += 1
        return 0

    def _first_of_many(self, key: bytes, record: Record, variant: bytes, occurred_us: int) -> int | None:
        """The same for variants beyond MAX_INLINE: a row for each, so that no row grows without bound.

        They are no news of a conflict: the MAX_INLINE before them are.
        """
        own = key + NUL + variant
        sightings = self._identities.get(own)
        if sightings is None and (value := self._rows.get(own)) is not None:
            sightings = self._identities[own] = decode_sightings(value)
        if sightings is None:
            self._identities[own] = [_sighting(record, variant, occurred_us)]
            self._noted[own] = None
        elif not sightings[0].at(record.topic, record.offset):
            return None
        self._counts["variant"] += 1
        return 0

    def _decide(self, workflow: _Workflow, topic: str, offset: int, event: Event, rank: Rank, used: Used) -> None:
        name = event.decision_id or ""
        decision = workflow.decisions.get(name)
        if decision is None:
            decision = workflow.decisions[name] = Decision(name)
        if offset >= decision.applied.get(topic, 0):
            decision_rules.apply(decision, event, rank, used)
            decision.applied[topic] = offset + 1
            workflow.decided[name] = None

    def _bury(self, record: Record, reason: str, error_class: str, detail: str) -> None:
        limit = self._limits.max_record_bytes
        self._out.sends.append(dead_letter(record, reason, error_class, detail, limit, self._now_ms))
        self._counts["dead_letter"] += 1

    def finish(self) -> Folded:
        out = self._out
        identities = self._identities
        out.implied = [(key, encode_sightings(identities[key])) for key in self._new if key not in self._noted]
        out.rows.extend((key, encode_sightings(identities[key])) for key in self._noted)
        touched = [workflow for workflow in self._workflows.values() if workflow.touched]
        for workflow in touched:
            for name in workflow.decided:
                out.rows.append((decision_key(workflow.prefix, name), encode_decision(workflow.decisions[name])))
        for workflow in touched:
            if (head := workflow.head) is not None:
                head_rules.add_digest(head, workflow.shares)
                # Before the head that has counted them: whoever finds that does not find them again.
                out.rows += [(thread_key(kind, name, workflow.key), FORMAT_BYTE) for kind, name in workflow.beyond]
                out.rows.append((workflow.key, encode_head(head)))
                out.implied += threads(workflow.key, head)
        out.counts = {name: count for name, count in self._counts.items() if count}
        return out


def _sighting(record: Record, variant: bytes, occurred_us: int) -> Sighting:
    return Sighting(variant, occurred_us, record.topic, record.partition, record.offset)
