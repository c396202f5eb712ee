"""The native fold, with Python's behind it, is Python's fold: on fresh, grown, torn and strange tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from typing import Any
from unittest import mock

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.workload import workload
from replayer.core import capped
from replayer.core.indexing import Shelves
from replayer.core.outcome import Folded
from replayer.core.rows import MAX_INLINE
from replayer.core.sizes import topic
from replayer.core.timeline import TimelineFold
from replayer.core.unread import Unread
from replayer.native import fold as native_fold
from replayer.native.fold import NativeFold
from replayer.native.library import NotDone
from replayer.native.wire import unread
from tests.core.test_timeline import interrupted, splits
from tests.core.timelines import (
    TOPICS,
    arrived,
    at,
    deliveries,
    document,
    fold,
    materialised,
    one_topic,
    recovered,
)
from tests.drawn import Log, MemoryRows, events, full
from tests.native.agreement import LIMIT, Both, keyed, library, logged, said
from tests.native.spelling import model_of, mutated, respelled
from topics.events import MODELS

WORKFLOWS = ("w", "v", "u")


def folds_natively(rows: MemoryRows, records: list[Log]) -> Folded:
    native = NativeFold(partition_of=lambda _: 0, max_record_bytes=LIMIT, library=library())
    return native.fold(rows, records, 0, 0)


@given(deliveries(workflows=WORKFLOWS), splits)
@settings(max_examples=150)
def test_whatever_arrives_in_whatever_batches(sequence: list[tuple[str, bytes]], batches: list[int]) -> None:
    records = arrived(sequence)
    both = Both()
    assert both.materialised(keyed(records), batches) == materialised(records, batches)


@given(interrupted(), splits, st.data(), st.integers(1, 5))
@settings(max_examples=150)
def test_over_torn_tables(
    story: tuple[list[Log], list[Log], list[Log]], batches: list[int], data: st.DataObject, at_a_time: int
) -> None:
    before, torn, again = map(keyed, story)
    both = Both()
    with mock.patch.object(native_fold, "_AT_A_TIME", at_a_time):
        written = both.fold(materialised(before), torn).rows
        rows = materialised(before)
        rows.write(recovered(written[: data.draw(st.integers(0, len(written)))]))
        done = 0
        while done < len(again):
            size = batches[done % len(batches)]
            rows.write(both.fold(rows, again[done : done + size]).stored)
            done += size


@st.composite
def drawn_worlds(draw: st.DrawFn) -> list[Log]:
    """Events of any type with any field in a small world, in any spelling; some are damaged, some keyed otherwise."""
    rng = draw(st.randoms(use_true_random=False))
    told = []
    for event in draw(st.lists(events(), min_size=1, max_size=8)):
        event |= {
            "workflow_id": draw(st.sampled_from(WORKFLOWS)),
            "tenant_id": draw(st.sampled_from(["acme", "acme", "acme", "umbrella"])),
            "event_id": draw(st.sampled_from(["e1", "e2", "e3", "é"])),
        }
        raw = respelled(event, model_of(event), rng) if draw(st.booleans()) else orjson.dumps(event)
        if draw(st.integers(0, 9)) == 0:
            raw = draw(mutated(raw))
        key = (
            draw(st.sampled_from([None, b"", b"w"])) if draw(st.integers(0, 19)) == 0 else event["workflow_id"].encode()
        )
        told.append((draw(st.sampled_from(TOPICS)), raw, key))
    told += draw(st.lists(st.sampled_from(told), max_size=4))
    return [
        replace(record, headers=(("h", b"v"),)) if draw(st.integers(0, 19)) == 0 else record for record in logged(told)
    ]


@given(drawn_worlds(), splits, st.integers(1, 5))
@settings(max_examples=300)
def test_any_event_of_any_type(records: list[Log], batches: list[int], at_a_time: int) -> None:
    with mock.patch.object(native_fold, "_AT_A_TIME", at_a_time):
        Both().materialised(records, batches)


@given(drawn_worlds(), st.sets(st.sampled_from([b"w", b"v", b"u"])))
@settings(max_examples=60)
def test_workflows_of_other_partitions(records: list[Log], strangers: set[bytes]) -> None:
    Both(lambda key: int(key in strangers)).materialised(records, (3,))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_type_is_folded_by_native_code(name: str) -> None:
    """Its first event, a duplicate, a variant, and what comes late, in one batch and in four."""
    event = full(MODELS[name], "x") | {"event_type": name, "event_id": "e1", "workflow_id": "w"}
    others = [event, event, event | {"agent_id": "b"}, event | {"event_id": "e0", "occurred_at": at(0)}]
    both = Both()
    rows = both.materialised(keyed(one_topic(*others)))
    assert both.materialised(keyed(one_topic(*others)), (1,)) == rows
    assert both.taken == both.all == 8


@pytest.mark.parametrize("size", ["1KB", "200B"])
def test_the_ordinary_workload_is_folded_by_native_code(size: Any) -> None:
    told = [Log(topic(size), n, value, key=key) for n, (key, value) in enumerate(workload(size, 2000, active=100))]
    both = Both()
    both.materialised(told, (700, 1, 64))
    assert both.taken == both.all == 2000


class Looking(Shelves):
    """Notes what Python looks at to say what was used."""

    rows = 0

    def take(self, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        found = list(rows)
        Looking.rows += len(found)
        super().take(found)


@contextmanager
def looked_at(expected: int) -> Iterator[None]:
    """How many rows Python has to look at in here, where native code folds."""
    Looking.rows = 0
    with mock.patch.object(native_fold, "Shelves", Looking):
        yield
    assert Looking.rows == expected


def invocation(number: int, **data: Any) -> dict[str, Any]:
    told = {"provider": "p", "model": "m", "prompt_template": {"template_id": "t", "version": "1"}} | data
    return document("model.invocation_completed", event_id=f"e{number}", decision_id=f"d{number % 3}", data=told)


@pytest.mark.parametrize("size", ["1KB", "200B"])
def test_what_the_ordinary_workload_uses_is_said_by_native_code(size: Any) -> None:
    told = [Log(topic(size), n, value, key=key) for n, (key, value) in enumerate(workload(size, 2000, active=100))]
    with looked_at(0):
        folded = Both().fold(MemoryRows(), told)
    assert sum(len(uses) for uses, *_ in said(folded).values()) == 2000


def test_python_looks_at_what_native_code_cannot_say() -> None:
    """Lists, and texts that would have to be unescaped: these events' rows and no others."""
    retrieved = {"index_name": "i", "documents": [{"document_id": "a", "version": "1"}, {"document_id": "b"}]}
    verdict = {"policy_id": "p", "outcome": "deny", "rule_id": 'a "rule"'}
    call = {"call_id": "c", "tool_name": "f", "tool_version": 'a "version"'}
    strange = [
        document("retrieval.performed", event_id="r", data=retrieved),
        document("policy.evaluated", event_id="p", data=verdict),
        document("tool.call_started", event_id="c", data=call),
    ]
    plain = [invocation(number) for number in range(40)]
    records = keyed(one_topic(*plain[:7], strange[0], *plain[7:20], *strange[1:], *plain[20:]))
    for at_a_time in (1, 5, 256):
        both = Both()
        with mock.patch.object(native_fold, "_AT_A_TIME", at_a_time), looked_at(3):
            folded = both.fold(MemoryRows(), records)
        assert both.taken == both.all
        assert {key[:1] for key in said(folded)} == {b"t", b"m", b"p", b"f", b"d", b"x"}


def test_what_is_used_more_often_than_one_record_says() -> None:
    folded = Both().fold(MemoryRows(), keyed(one_topic(*map(invocation, range(2500)))))
    shelves = said(folded)
    (template,) = (key for key in shelves if key[:1] == b"t")
    assert [len(part) for part in shelves[template]] == [2500, 0, 3]
    assert [send.key for send in folded.sends].count(template) == 3


def test_templates_whose_names_have_an_at_in_them() -> None:
    named = [{"template_id": name, "version": version} for name, version in (("a@b", "1"), ("a", "b@1"), ("a@", "@1"))]
    records = keyed(one_topic(*(invocation(n, prompt_template=template) for n, template in enumerate(named))))
    Both().materialised(records, (1, 2))


def test_a_fold_that_is_not_indexed_says_nothing() -> None:
    records = keyed(one_topic(*map(invocation, range(5))))
    assert not folds_natively(MemoryRows(), records).sends


@given(deliveries(workflows=WORKFLOWS, max_size=30))
@settings(max_examples=30)
def test_nearly_all_that_can_be_is_folded_by_native_code(sequence: list[tuple[str, bytes]]) -> None:
    """Of deliveries with duplicates, variants and disorder all but those with a future version."""
    known = [(name, value) for name, value in sequence if orjson.loads(value)["schema_version"] == 1]
    both = Both()
    both.materialised(keyed(arrived(known)), (5,))
    assert both.taken == both.all


def test_a_group_that_is_not_understood_takes_no_other_with_it() -> None:
    records = keyed(
        one_topic(*(document("policy.evaluated", event_id=f"e{n}", workflow_id=f"w{n % 5}") for n in range(50)))
    )
    records[12] = replace(records[12], value=b"\xff")
    both = Both()
    folded = both.fold(MemoryRows(), records)
    assert folded.counts == {"folded": 49, "dead_letter": 1}
    assert both.taken == 40


def test_a_group_that_is_understood_only_at_first_leaves_nothing_behind() -> None:
    """Its first pieces are folded when a later one turns out to be Python's."""
    records = keyed(one_topic(*(document("policy.evaluated", event_id=f"e{n}") for n in range(40))))
    other = keyed(one_topic(*(document("feedback.received", event_id=f"o{n}", workflow_id="v") for n in range(5))))
    for odd in (0, 7, 8, 20, 39):
        changed = [replace(record, value=b"{}") if n == odd else record for n, record in enumerate(records)]
        both = Both()
        with mock.patch.object(native_fold, "_AT_A_TIME", 8):
            both.fold(MemoryRows(), [*changed, *(replace(record, offset=record.offset + 40) for record in other)])
        assert both.taken == 5


def test_more_variants_than_stand_in_a_row() -> None:
    variants = [document("feedback.received", event_id="e", data={"score": n}) for n in range(3 * MAX_INLINE)]
    records = keyed(one_topic(*variants, *variants))
    for batches in ((1,), (7,), (1000,)):
        Both().materialised(records, batches)


def test_sets_and_sums_that_are_full() -> None:
    def told(n: int) -> dict[str, Any]:
        data = {
            "provider": "p", "model": f"m{n * 7919 % 1000}", "latency_ms": 2**53 - 1 - n,
            "tokens": {"input": 2**53 - 1, "output": n}, "prompt_template": {"template_id": f"t{n}", "version": "1"},
        }  # fmt: skip
        return document(
            "model.invocation_completed", event_id=f"e{n}", agent_id=f"a{n}é", correlation_id=f"k{n % 70}", data=data,
            decision_id=f"d{n % 2}", trace_id=f"{n:032x}", occurred_at=at(n * 31 % 300),
        )  # fmt: skip

    both = Both()
    events_told = [told(n) for n in range(3 * capped.MAX_VALUES)]
    policies = [
        document(
            "policy.evaluated", event_id=f"p{n}", data={"policy_id": f"p{n}", "policy_version": "1", "outcome": "deny"}
        )
        for n in range(capped.MAX_VALUES + 3)
    ]
    tools = [
        document("tool.call_failed", event_id=f"t{n}", data={"call_id": "c", "tool_name": f"t{n}", "error_class": "E"})
        for n in range(capped.MAX_VALUES + 3)
    ]
    both.materialised(keyed(one_topic(*events_told, *policies, *tools)), (50, 3))
    assert both.taken == both.all


def test_rows_that_are_not_quite_ours_are_left_to_python() -> None:
    """Of another format, cut, longer, older: Python reads them or says what is wrong with them."""
    records = keyed(one_topic(*(document("feedback.received", event_id=f"e{n}") for n in range(3))))
    again = keyed(one_topic(*(document("feedback.received", event_id=f"e{n}", agent_id="b") for n in range(6))))
    again = [replace(record, offset=record.offset + 3) for record in again]
    rng = Random(4)
    outcomes = {"equal": 0, "refused": 0}
    rows = materialised(records)
    for key in rows:
        if key[:1] not in (b"h", b"i", b"d"):
            continue
        value = rows[key]
        array = msgspec.msgpack.decode(value[1:])
        packed = [msgspec.msgpack.encode(other) for other in ([*array, 1], array[:-1], array[::-1])]
        strange = [b"\x63" + value[1:], value[:-1], value + b"\0", b"", value[:1], *(value[:1] + one for one in packed)]
        for _ in range(150):
            at_byte = rng.randrange(len(value))
            strange.append(value[:at_byte] + bytes([value[at_byte] ^ 1 << rng.randrange(8)]) + value[at_byte + 1 :])
        for odd in strange:
            table = MemoryRows(rows)
            table[key] = odd
            try:
                fold(table, again)
            except Exception as refused:  # noqa: BLE001 - mostly RowUnreadable; whatever it is, it is so for both
                with pytest.raises(type(refused)):
                    folds_natively(table, again)
                outcomes["refused"] += 1
            else:
                Both().fold(table, again)
                outcomes["equal"] += 1
    assert min(outcomes.values()) > 50


def test_numbers_that_fit_nowhere_are_pythons() -> None:
    good = keyed(one_topic(document("policy.evaluated")))[0]
    for odd in (
        {"offset": 2**63 - 1}, {"timestamp": 2**62}, {"partition": -1}, {"topic": "t" * 300}, {"timestamp": -1},
    ):  # fmt: skip
        record = replace(good, **odd)
        try:
            expected = fold(MemoryRows(), [record])
        except Exception as refused:  # noqa: BLE001 - struct's, or an OverflowError
            with pytest.raises(type(refused)):
                folds_natively(MemoryRows(), [record])
        else:
            assert folds_natively(MemoryRows(), [record]) == expected


def test_a_library_that_breaks_down_is_not_the_step_s_end() -> None:
    records = keyed(one_topic(*(document("policy.evaluated", event_id=f"e{n}") for n in range(9))))
    both = Both()
    for broken in ("parse", "fold", "usage"):
        with mock.patch(f"replayer.native.library.Step.{broken}", side_effect=NotDone):
            both.fold(MemoryRows(), records)
    assert both.taken == 0


def test_what_the_library_is_handed_is_checked() -> None:
    """Values that were not asked for, an index of something else: it says no, and goes on saying no with that step."""
    records = unread(library(), keyed(one_topic(document("policy.evaluated"))))
    for known in (b"", b"\xc0", msgspec.msgpack.encode([[], []]), msgspec.msgpack.encode([[9], [None] * 3])):
        with library().step() as step:
            assert step.load(records) == 1
            heads, keys = step.parse(5)
            assert [len(heads), len(keys)] == [1, 2]
            with pytest.raises(NotDone):
                step.fold(known)
            with pytest.raises(NotDone):
                step.fold(msgspec.msgpack.encode([[], [None] * 3]))
    (run,) = records.runs
    for odd in (run.part._replace(data=b""), run.part._replace(data=run.part.data[:-20])):
        native = NativeFold(partition_of=lambda _: 0, max_record_bytes=LIMIT, library=library())
        with mock.patch.object(native._python, "folding", side_effect=LookupError), pytest.raises(LookupError):
            native.fold(MemoryRows(), Unread([run._replace(part=odd)]), 0, 0)


def test_a_large_batch_is_folded_with_pauses() -> None:
    records = keyed(one_topic(*(document("policy.evaluated", event_id=f"e{n}") for n in range(2000))))
    native = NativeFold(partition_of=lambda _: 0, max_record_bytes=LIMIT, library=library())
    assert len(list(native.folding(MemoryRows(), records, 0, 0))) >= 7
    plain = TimelineFold(partition_of=lambda _: 0, max_record_bytes=LIMIT)
    assert native.fold(MemoryRows(), records, 0, 0) == plain.fold(MemoryRows(), records, 0, 0)


def test_ids_with_escapes_are_pythons() -> None:
    """Texts go to rows as they stand in the record; what would have to be unescaped first does not."""
    for name in ("event_id", "tenant_id", "agent_id", "decision_id", "correlation_id"):
        both = Both()
        rows = both.materialised(keyed(one_topic(document("policy.evaluated", **{name: 'a "b"\\\n'}))))
        assert both.taken == 0
        assert b"\n" in b"".join([*rows, *rows.values()])
    record = one_topic(document("policy.evaluated", workflow_id='a "b"'))[0]
    both = Both()
    both.fold(MemoryRows(), [replace(record, key=b'a "b"'), replace(record, offset=1, key=b'a \\"b\\"')])
    assert both.taken <= 0  # a key that says otherwise: grouped first, then in the log's order
