"""The fold's promises: arrival changes nothing that lasts, a position counts once, one identity is one row."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any
from unittest import mock

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replayer.core import reading, timeline
from replayer.core.errors import UnknownRowFormat
from replayer.core.head import decode_head
from replayer.core.rows import MAX_INLINE, head_key
from replayer.core.timeline import TimelineFold
from tests.core.timelines import (
    TOPICS,
    arrived,
    at,
    deliveries,
    document,
    documents,
    encoded,
    fold,
    lasting,
    materialised,
    one_topic,
    recovered,
)
from tests.drawn import Log, MemoryRows, full
from topics import deadletter
from topics.codec import Event, decode
from topics.events import MODELS
from topics.projection import project

splits = st.lists(st.integers(1, 6), min_size=1, max_size=4)


@given(deliveries(), st.data(), splits, splits)
@settings(max_examples=120)
def test_no_order_duplication_or_batching_changes_what_lasts(
    sequence: list[tuple[str, bytes]], data: st.DataObject, some: list[int], others: list[int]
) -> None:
    again = data.draw(st.permutations([*sequence, *data.draw(st.lists(st.sampled_from(sequence), max_size=5))]))
    again = [(data.draw(st.sampled_from(TOPICS)), value) for _, value in again]
    assert lasting(materialised(arrived(sequence), some)) == lasting(materialised(arrived(again), others))


@given(deliveries(), splits)
@settings(max_examples=60)
def test_incremental_equals_rebuild(sequence: list[tuple[str, bytes]], batches: list[int]) -> None:
    records = arrived(sequence)
    assert materialised(records, batches) == materialised(records)


@given(deliveries())
@settings(max_examples=80)
def test_the_head_says_what_its_rows_say(sequence: list[tuple[str, bytes]]) -> None:
    """An oracle that knows nothing of the fold: sets of distinct events."""
    rows = materialised(arrived(sequence))
    distinct = {value: decode(value) for _, value in sequence}
    events = [found for found in distinct.values() if isinstance(found, Event)]
    head = reading.workflow(rows, "acme", "w")
    assert head is not None
    assert head.events == len(events) == len(reading.timeline(rows, "acme", "w", limit=1000).items)
    assert head.events + head.duplicates == len(sequence)
    hashes = [int.from_bytes(hashlib.sha256(project(event)).digest(), "big") for event in events]
    assert int.from_bytes(head.digest, "big") == sum(hashes) % 2**256
    types = [event.event_type for event in events]
    assert head.counts == {name: types.count(name) for name in types}
    ids = [event.event_id for event in events]
    assert head.conflicts == len({name for name in ids if ids.count(name) > 1})
    assert set(head.agents) == {event.agent_id for event in events}
    assert (head.first_us, head.last_us) == (
        min(event.occurred_us for event in events),
        max(event.occurred_us for event in events),
    )
    assert head.futures == sum(event.future for event in events)
    decisions = reading.decisions(rows, "acme", "w", limit=10).items
    assert {one["decision_id"]: one["events"] for one in decisions} == {
        name: sum(event.decision_id == name for event in events) for name in {event.decision_id for event in events}
    }


@st.composite
def interrupted(draw: st.DrawFn) -> tuple[list[Log], list[Log], list[Log]]:
    """Records folded before; a batch that is torn; and what is folded afterwards: the batch again and more.

    Topics keep their order, but are mixed in another way the second time.
    """
    records = arrived(draw(deliveries(max_size=10)))
    first, second = sorted(draw(st.tuples(*[st.integers(0, len(records))] * 2)))
    waiting = {topic: [r for r in records[first:] if r.topic == topic] for topic in TOPICS}
    again = []
    while any(waiting.values()):
        topic = draw(st.sampled_from([topic for topic in TOPICS if waiting[topic]]))
        again.append(waiting[topic].pop(0))
    return records[:first], records[first:second], again


@given(interrupted(), splits)
@settings(max_examples=150)
def test_a_torn_batch_is_completed_and_counts_nothing_twice(
    story: tuple[list[Log], list[Log], list[Log]], batches: list[int]
) -> None:
    before, torn, again = story
    clean = materialised([*before, *again])
    written = fold(materialised(before), torn).rows
    for cut in range(len(written) + 1):
        rows = materialised(before)
        rows.write(recovered(written[:cut]))
        done, turn = 0, 0
        while done < len(again):
            size = batches[turn % len(batches)]
            rows.write(fold(rows, again[done : done + size]).stored)
            done, turn = done + size, turn + 1
        assert lasting(rows) == lasting(clean)
        heads = reading.workflow(rows, "acme", "w"), reading.workflow(clean, "acme", "w")
        assert heads[0] is not None
        assert heads[1] is not None
        assert heads[0].duplicates == heads[1].duplicates
        assert heads[0].applied == heads[1].applied


@given(interrupted(), st.data(), st.integers(1, 5))
@settings(max_examples=150)
def test_how_many_records_are_looked_at_together_changes_nothing(
    story: tuple[list[Log], list[Log], list[Log]], data: st.DataObject, at_a_time: int
) -> None:
    before, torn, again = story
    rows = materialised(before)
    written = fold(rows, torn).rows
    rows.write(recovered(written[: data.draw(st.integers(0, len(written)))]))
    whole = fold(rows, again)
    with mock.patch.object(timeline, "_AT_A_TIME", at_a_time):
        assert fold(rows, again) == whole


def test_a_torn_first_batch_is_believed_whole() -> None:
    """Once found by the property above: with the head missing, the rest of the batch was believed in part."""
    one = encoded(document("policy.evaluated", decision_id="d1"))
    other = encoded(document("feedback.received", decision_id="d2"))  # the same event id
    first, again, variant = (Log(topic, 0, value) for topic, value in zip(TOPICS, (one, one, other), strict=True))
    written = fold(MemoryRows(), [first, again, variant]).rows
    for cut in range(len(written) + 1):
        rows = MemoryRows()
        rows.write(recovered(written[:cut]))
        for record in (variant, again, first):
            rows.write(fold(rows, [record]).stored)
        assert lasting(rows) == lasting(materialised([first, again, variant])), cut


@given(deliveries(), splits)
@settings(max_examples=40)
def test_the_same_positions_again_change_nothing(sequence: list[tuple[str, bytes]], batches: list[int]) -> None:
    records = arrived(sequence)
    rows = materialised(records, batches)
    folded = fold(rows, records)
    assert folded.rows == []
    assert folded.counts == {"reprocessed": len(records)}


@given(st.lists(documents(workflows=("w1", "w2", "w3")), min_size=1, max_size=12))
@settings(max_examples=30)
def test_the_fold_is_pure(events: list[dict[str, Any]]) -> None:
    records = one_topic(*events)
    rows = materialised(records[: len(records) // 2])
    kept = dict(rows)
    assert fold(rows, records) == fold(rows, records)
    assert rows == kept


def test_rows_come_in_the_order_the_changelog_needs() -> None:
    events = [document("policy.evaluated", event_id=f"e{n}", workflow_id=f"w{n % 3}") for n in range(9)]
    folded = fold(MemoryRows(), one_topic(*events))
    assert [key[:1] for key, _ in folded.rows] == [b"e"] * 9 + [b"d"] * 3 + [b"h"] * 3
    assert [key[:1] for key, _ in folded.implied] == [b"i"] * 9
    again = one_topic(*[{**event, "occurred_at": at(3)} for event in events[:2]])
    other = [replace(record, offset=9 + record.offset) for record in again]
    rows = MemoryRows()
    rows.write(folded.stored)
    folded = fold(rows, other)
    assert [key[:1] for key, _ in folded.rows] == [b"e"] * 2 + [b"i"] * 2 + [b"d"] * 2 + [b"h"] * 2
    assert folded.implied == []


@given(deliveries(workflows=("w", "v")), splits)
@settings(max_examples=100)
def test_the_changelog_alone_comes_to_the_same_table(sequence: list[tuple[str, bytes]], batches: list[int]) -> None:
    rows, rebuilt, compacted = MemoryRows(), MemoryRows(), dict[bytes, bytes | None]()
    records = arrived(sequence)
    done, turn = 0, 0
    while done < len(records):
        size = batches[turn % len(batches)]
        folded = fold(rows, records[done : done + size])
        rows.write(folded.stored)
        rebuilt.write(recovered(folded.rows))
        for key, value in folded.rows:
            compacted.pop(key, None)  # its last place in the log is what counts
            compacted[key] = value
        done, turn = done + size, turn + 1
    assert rebuilt == rows
    cold = MemoryRows()
    cold.write(recovered(list(compacted.items())))
    assert cold == rows


@given(deliveries(workflows=("w", "v", "u")), st.data(), splits)
@settings(max_examples=100)
def test_whatever_the_keys_are_the_table_is_the_same(
    sequence: list[tuple[str, bytes]], data: st.DataObject, batches: list[int]
) -> None:
    """Records are folded by key. A key that is not the workflow's must not change the order within a workflow."""
    records = arrived(sequence)
    keyed = [replace(record, key=orjson.loads(record.value or b"")["workflow_id"].encode()) for record in records]
    odd = st.sampled_from([b"w", b"v", b"", None])
    strange = [replace(record, key=data.draw(odd)) if data.draw(st.booleans()) else record for record in keyed]
    assert materialised(keyed, batches) == materialised(records, batches) == materialised(strange, batches)


def test_the_same_workflow_id_in_two_tenants_is_two_workflows() -> None:
    ours, theirs = (document("policy.evaluated", tenant_id=tenant) for tenant in ("acme", "umbrella"))
    rows = materialised(one_topic(ours, theirs))
    for tenant in ("acme", "umbrella"):
        items = reading.timeline(rows, tenant, "w").items
        assert [item["tenant_id"] for item in items] == [tenant]
        head = reading.workflow(rows, tenant, "w")
        assert head is not None
        assert (head.events, head.conflicts, head.duplicates) == (1, 0, 0)
    assert len(reading.decisions(rows, "acme", "w").items) == 1


def test_a_conflict_is_marked_on_every_variant_and_counted_once() -> None:
    events = [document("feedback.received", event_id="e", data={"score": score}) for score in (1, 2, 3)]
    other = document("feedback.received", event_id="other")
    rows = materialised(one_topic(events[0], other, events[1], events[0], events[2]), (1,))
    items = reading.timeline(rows, "acme", "w").items
    assert [item["marks"]["conflict"] for item in items] == [True, True, True, False]
    head = reading.workflow(rows, "acme", "w")
    assert head is not None
    assert (head.conflicts, head.events, head.duplicates) == (1, 4, 1)


def test_any_number_of_variants_stands_without_a_row_that_grows() -> None:
    events = [document("feedback.received", event_id="e", data={"score": n}) for n in range(3 * MAX_INLINE)]
    records = one_topic(*events, *events)
    for batches in ((1,), (7,), (1000,)):
        rows = materialised(records, batches)
        head = reading.workflow(rows, "acme", "w")
        assert head is not None
        assert (head.events, head.duplicates, head.conflicts) == (len(events), len(events), 1)
        assert max(map(len, rows.values())) < 1000
    backwards = materialised(one_topic(*reversed(events)), (5,))
    assert lasting(backwards) == lasting(rows)
    written = fold(MemoryRows(), records).rows
    for cut in range(0, len(written) + 1, 5):
        torn = MemoryRows()
        torn.write(recovered(written[:cut]))
        torn.write(fold(torn, records).stored)
        assert lasting(torn) == lasting(rows)


def test_a_workflow_begun_in_the_wrong_partition_is_a_dead_letter() -> None:
    records = one_topic(document("policy.evaluated", event_id="e1"), document("policy.evaluated", event_id="e2"))
    elsewhere = TimelineFold(partition_of=lambda key: 3 if key == b"w" else 0, max_record_bytes=1 << 20)
    folded = elsewhere.fold(MemoryRows(), records, 0, 7)
    assert folded.rows == []
    assert [dict(send.headers)[deadletter.REASON] for send in folded.sends] == [b"misrouted"] * 2
    assert folded.counts == {"dead_letter": 2}
    assert folded == elsewhere.fold(MemoryRows(), records, 0, 7)
    # a workflow that has a head here stays here: the check is for its first event
    assert elsewhere.fold(materialised(records[:1]), records, 0, 7).sends == []


def test_bad_records_are_dead_letters_and_the_next_is_folded() -> None:
    good = encoded(document("policy.evaluated"))
    values = [b"\xff", good, None, b"{}", b"x" * 5000, good.replace(b'"e"', b'"e2"')]
    records = [Log("tool-events", offset, value) for offset, value in enumerate(values)]
    folded = TimelineFold(partition_of=lambda _: 0, max_record_bytes=4096).fold(MemoryRows(), records, 0, 0)
    reasons = [dict(send.headers)[deadletter.REASON].decode() for send in folded.sends]
    assert reasons == ["undecodable", "undecodable", "invalid", "oversized"]
    assert folded.counts == {"folded": 2, "dead_letter": 4}


def test_nothing_hidden_is_in_any_row() -> None:
    for n, event_type in enumerate(MODELS):
        event = full(MODELS[event_type], "canary") | {"event_type": event_type, "event_id": f"e{n}"}
        variants = [event, event | {"subject_id": "canary-2"}, event | {"schema_version": 5, "event_id": "future"}]
        assert b"canary" in encoded(event)
        folded = fold(MemoryRows(), one_topic(*variants))
        assert folded.counts["folded"] == 3
        assert folded.sends == []
        assert not any(b"canary" in key or b"canary" in (value or b"") for key, value in folded.rows)


def test_rows_of_another_format_stop_the_fold() -> None:
    records = one_topic(document("policy.evaluated"), document("policy.evaluated", event_id="e2"))
    for kind in (b"h", b"i", b"d"):
        rows = materialised(records)
        for key in list(rows):
            if key[:1] == kind:
                rows[key] = b"\x63" + rows[key][1:]
        with pytest.raises(UnknownRowFormat, match="format 99"):
            fold(rows, [*records, *one_topic(document("policy.evaluated", event_id="e2", agent_id="b"))])


def test_the_digest_is_comparable_across_rebuilds_in_other_orders() -> None:
    events = [document("policy.evaluated", event_id=f"e{n}", occurred_at=at(n)) for n in range(30)]
    digests = {
        decode_head(materialised(one_topic(*order), (4,))[head_key("acme", "w")]).digest
        for order in (events, events[::-1], events[10:] + events[:10] + events[3:5])
    }
    assert len(digests) == 1
    fewer = decode_head(materialised(one_topic(*events[1:]))[head_key("acme", "w")]).digest
    assert fewer not in digests


def test_a_large_batch_is_folded_with_pauses():
    """Nothing else of a worker has its turn between two of them."""
    records = one_topic(*(document("policy.evaluated", event_id=f"e{n}") for n in range(500)))
    folding = TimelineFold(partition_of=lambda _: 0, max_record_bytes=1 << 20).folding(MemoryRows(), records, 0, 0)
    assert len(list(folding)) >= 8
