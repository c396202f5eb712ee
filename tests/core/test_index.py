"""The index says what a scan of the timelines says, whatever is repeated, torn or comes in another order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replayer.core import lookup
from replayer.core.decisions import decode_decision
from replayer.core.errors import TooBroad, UnknownRowFormat
from replayer.core.glimpse import glimpse
from replayer.core.index import IndexFold
from replayer.core.indexing import indexed
from replayer.core.lookup import Stretch
from replayer.core.outcome import whole
from replayer.core.page import Page, Position
from replayer.core.rows import DECISION, EVENT, FUTURE, NUL, decode_event
from replayer.core.shelf import MODEL, POLICY, TEMPLATE, TOOL, opened, things
from replayer.core.shelf_head import ShelfHead, described_template, together
from replayer.core.shelf_rows import CONTRIBUTION, HEAD, USE, decode_contribution, decode_place
from replayer.core.timeline import TimelineFold
from tests.core.timelines import arrived as arriving
from tests.core.timelines import at, deliveries, document, encoded
from tests.drawn import Log, MemoryRows, full
from topics import deadletter
from topics.codec import decode
from topics.events import MODELS
from topics.fields import micros, rfc3339
from topics.projection import project

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


def lasting(rows: MemoryRows) -> dict[bytes, Any]:
    """All rows, without what says which record brought them."""
    found: dict[bytes, Any] = {}
    for key, value in rows.items():
        kind = key[:1]
        if kind == HEAD:
            found[key] = msgspec.structs.replace(lookup.decode_shelf_head(value), applied=0)
        elif kind == CONTRIBUTION:
            found[key] = msgspec.structs.replace(decode_contribution(value), applied=0)
        elif kind in (USE, lookup.EVALUATION):
            found[key] = msgspec.structs.replace(decode_place(value), brought=0)
        else:
            found[key] = value
    return found


@given(deliveries(WORKFLOWS), splits, splits)
@settings(max_examples=150)
def test_the_index_says_what_a_scan_of_the_timelines_says(
    sequence: list[tuple[str, bytes]], batches: list[int], others: list[int]
) -> None:
    timelines, usage = told(sequence, batches)
    rows = built(usage, others)
    uses: defaultdict[tuple[bytes, str, str], list[tuple[int, bytes, str]]] = defaultdict(list)
    for key, value in timelines.scan(EVENT):
        prefix = key[1 : key.index(NUL, key.index(NUL) + 1) + 1]
        row = decode_event(prefix, key, value)
        seen = None if row.marks & FUTURE else glimpse(row.projection)
        if seen is not None:
            for named in (*(() if seen.used is None else (seen.used[0],)), *seen.touched):
                shelf = opened(named + b"0")
                uses[shelf.kind, shelf.name, shelf.version].append((row.occurred_us, prefix, seen.decision_id))
    decided = {(key[1:]): decode_decision(value) for key, value in timelines.scan(DECISION)}
    heads = {(shelf.kind, shelf.name, shelf.version) for key in rows if key[:1] == HEAD for shelf in (opened(key[1:]),)}
    assert heads == uses.keys()
    for (kind, name, version), all_uses in uses.items():
        head = thing(rows, kind, name, version)
        who = {(prefix, decision) for _, prefix, decision in all_uses}
        first = {one: min(us for us, *other in all_uses if tuple(other) == one) for one in who}
        assert (head.first_us, head.last_us) == (min(all_uses)[0], max(all_uses)[0])
        if kind == POLICY:
            assert head.uses == sum(head.outcomes.values()) == len(all_uses)
            continue
        assert (head.decisions, head.workflows) == (len(who), len({prefix for prefix, _ in who}))
        listed = pages(rows, kind, name, version)
        assert [(item["workflow_id"], item["decision_id"], item["first_used_at"]) for item in listed] == [
            (prefix.split(NUL)[1].decode(), decision or None, rfc3339(first[prefix, decision]))
            for prefix, decision in sorted(who, key=lambda one: (first[one], *one))
        ]
        if kind == TEMPLATE:
            standing = [decided[prefix + decision.encode()] for prefix, decision in who]
            assert head.uses == len(all_uses)
            assert head.statuses == Counter(one.status for one in standing)
            assert head.outcomes == Counter(outcome for one in standing for outcome in one.policy_outcomes)
            assert head.rated == sum(one.feedbacks > 0 for one in standing)
            assert head.score == sum(round(one.feedback.score * 1e6) for one in standing if one.feedback)
            assert head.overridden == sum("workflow.human_override" in one.counts for one in standing)
            for outcome in ("allow", "deny"):
                asked = pages(rows, kind, name, version, outcome)
                assert asked == [item for item in listed if outcome in item["policy_outcomes"]]


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


@given(deliveries(WORKFLOWS), splits, splits, st.data())
@settings(max_examples=100)
def test_repeats_another_grouping_and_another_order_change_nothing(
    sequence: list[tuple[str, bytes]], batches: list[int], others: list[int], data: st.DataObject
) -> None:
    _, usage = told(sequence, batches)
    alone = told(sequence, (1,))[1] if data.draw(st.booleans()) else usage
    repeats = data.draw(st.lists(st.sampled_from(usage), max_size=5)) if usage else []
    again = data.draw(st.permutations([*alone, *repeats]))
    assert lasting(built(in_log([(one.key, one.value) for one in again]), others)) == lasting(built(usage))


@given(deliveries(WORKFLOWS), splits, splits, st.data())
@settings(max_examples=100)
def test_a_torn_batch_is_completed_and_counts_nothing_twice(
    sequence: list[tuple[str, bytes]], batches: list[int], others: list[int], data: st.DataObject
) -> None:
    _, usage = told(sequence, batches)
    first, second = sorted(data.draw(st.tuples(*[st.integers(0, len(usage))] * 2)))
    clean = built(usage)
    written = fold(built(usage[:first]), usage[first:second])
    for cut in range(len(written) + 1):
        rows = built(usage[:first])
        rows.write(written[:cut])
        done, turn = first, 0
        while done < len(usage):
            size = others[turn % len(others)]
            rows.write(fold(rows, usage[done : done + size]))
            done, turn = done + size, turn + 1
        assert rows == clean


@given(deliveries(WORKFLOWS), st.integers(1, 3))
@settings(max_examples=60)
def test_pages_neither_lose_nor_repeat(sequence: list[tuple[str, bytes]], limit: int) -> None:
    _, usage = told(sequence)
    rows = built(usage)
    for kind, name in ((TEMPLATE, "t"), (MODEL, "p/m1"), (TOOL, "t1")):
        assert pages(rows, kind, name, None, limit=limit) == pages(rows, kind, name, None)
    everything = walked(lambda after: lookup.list_evaluations(rows, "pii", None, None, None, Stretch(), after, 1000))
    assert everything == walked(
        lambda after: lookup.list_evaluations(rows, "pii", None, None, None, Stretch(), after, limit)
    )
    for outcome in ("allow", "deny"):
        assert [item for item in everything if item["outcome"] == outcome] == walked(
            lambda after, outcome=outcome: lookup.list_evaluations(
                rows, "pii", None, outcome, None, Stretch(), after, limit
            )
        )


def invoked(second: int, **fields: Any) -> dict[str, Any]:
    data = {"provider": "p", "model": "m", "prompt_template": {"template_id": "t", "version": "1"}, **fields}
    return document("model.invocation_completed", event_id=f"e{second}", occurred_at=at(second), data=data)


def test_what_is_asked_for_by_time_and_tenant_is_what_is_given() -> None:
    events = [{**invoked(second), "decision_id": f"d{second}", "tenant_id": f"t{second % 2}"} for second in range(6)]
    _, usage = told([("model-invocations", encoded(event)) for event in events])
    rows = built(usage)
    start = micros(decode(encoded(events[0])).occurred_at)
    stretch = Stretch(start + 1_000_000, start + 5_000_000, "t1")
    found = lookup.list_decisions(rows, TEMPLATE, "t", "1", None, stretch, None, 10)
    assert [item["decision_id"] for item in found.items] == ["d1", "d3"]
    short = lookup.list_decisions(rows, TEMPLATE, "t", "1", None, stretch, None, 10, scan_budget=1)
    assert (short.items, short.next) != ([], None)


@pytest.mark.parametrize("batches", [(1000,), (1,), (2,)])
@pytest.mark.parametrize("order", [(5, 2, 7), (2, 5, 7), (7, 5, 2)])
def test_a_decision_stands_at_its_first_use_in_whatever_order_uses_come(
    order: tuple[int, ...], batches: tuple[int, ...]
) -> None:
    events = [{**invoked(second), "decision_id": "d"} for second in order]
    rows = built(told([("model-invocations", encoded(event)) for event in events], batches)[1])
    first = decode(encoded(invoked(2))).occurred_us
    last = decode(encoded(invoked(7))).occurred_us
    for kind, name in ((TEMPLATE, "t"), (MODEL, "p/m")):
        (item,) = pages(rows, kind, name, None)
        assert item["first_used_at"] == rfc3339(first)
        head = thing(rows, kind, name)
        assert (head.first_us, head.last_us) == (first, last)


def test_latencies_bands_models_and_failures_of_a_template() -> None:
    events = [
        invoked(0, latency_ms=5, latency_band="fast"),
        invoked(1, latency_ms=900, latency_band="slow", model_version="2"),
        invoked(2, latency_ms=1000),
        document(
            "model.invocation_completed", event_id="e3", occurred_at=at(3),
            data={"provider": "p", "model": "m"},
        ),
    ]  # fmt: skip
    failed = {**invoked(4), "event_type": "model.invocation_failed"}
    failed["data"] = {**failed["data"], "error_class": "E"}
    _, usage = told([("model-invocations", encoded(event)) for event in (*events, failed)])
    said = described_template(thing(built(usage), TEMPLATE, "t", "1"))
    assert (said["uses"], said["failed"], said["models"]) == (4, 1, ["p/m", "p/m@2"])
    assert said["latency_bands"] == {"fast": 1, "normal": 0, "slow": 1, "timeout": 0, "unsaid": 2}
    assert said["latency_ms"] == {"p50": 959, "p95": 1023}


def test_a_template_whose_id_and_version_have_at_signs_finds_its_standings() -> None:
    event = invoked(0, prompt_template={"template_id": "a@b", "version": "c@d"})
    judged = document("policy.evaluated", event_id="e9", occurred_at=at(9))
    _, usage = told([("model-invocations", encoded(event)), ("policy-events", encoded(judged))][:1])
    _, more = told([("model-invocations", encoded(event)), ("tool-events", encoded(judged))])
    assert thing(built(usage), TEMPLATE, "a@b", "c@d").decisions == 1
    rows = built(more)
    assert thing(rows, TEMPLATE, "a@b", "c@d").outcomes == {"allow": 1}
    assert {opened(key).version for key, _ in listed(rows, None, 10, 10)} == {"c@d"}, "other readings are no templates"


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


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "a@b", "b"]), st.sampled_from(["1", "b@1", "2"]), st.sampled_from("wvu")),
        min_size=1, max_size=12,
    ),
    st.integers(1, 3), st.integers(1, 4),
)  # fmt: skip
def test_lists_are_the_same_in_pages_and_steps_of_any_size(
    uses: list[tuple[str, str, str]], limit: int, most: int
) -> None:
    events = [
        ({**invoked(second, prompt_template={"template_id": name, "version": version}), "workflow_id": workflow})
        for second, (name, version, workflow) in enumerate(uses)
    ]
    rows = built(told([("model-invocations", encoded(event)) for event in events])[1])
    whole = listed(rows, None, 1000, 10**6)
    assert {(one.name, one.version) for one in (opened(key) for key, _ in whole)} == {use[:2] for use in uses}, (
        "and nothing that nobody used"
    )
    assert listed(rows, None, limit, most) == whole
    for name in {use[0] for use in uses}:
        assert listed(rows, name, limit, most) == [one for one in whole if opened(one[0]).name == name]


def test_what_would_have_to_look_at_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [invoked(second, model=f"m{second}", model_version="v") for second in range(5)]
    rows = built(told([("model-invocations", encoded(event)) for event in events])[1])
    assert len(pages(rows, MODEL, None, "v")) == 5
    for name, most in (("MAX_LOOKED", 4), ("MAX_SHELVES", 4)):
        with monkeypatch.context() as few:
            few.setattr(lookup, name, most)
            with pytest.raises(TooBroad, match="name one"):
                pages(rows, MODEL, None, "v")


def test_a_model_is_found_with_its_provider_and_without() -> None:
    events = [
        {**invoked(second, provider=provider, model=model), "decision_id": f"d{second}"}
        for second, (provider, model) in enumerate([("a", "m"), ("b", "m"), ("b", "a/m"), ("c", "mm")])
    ]
    rows = built(told([("model-invocations", encoded(event)) for event in events])[1])
    for asked, found in (("m", ["d0", "d1"]), ("a/m", ["d0", "d2"]), ("b/m", ["d1"]), ("b/a/m", ["d2"]), ("c", [])):
        assert [item["decision_id"] for item in pages(rows, MODEL, asked, None)] == found, asked


def test_rules_of_many_shelves_are_the_smallest_of_them_with_all_that_is_known() -> None:
    events = [
        {
            **document("policy.evaluated", event_id=f"e{number}-{workflow}", occurred_at=at(number)),
            "workflow_id": workflow,
            "data": {"policy_id": "pii", "outcome": "allow", "rule_id": f"r{number:03}"},
        }
        for workflow in "wvuts"
        for number in range(100)
    ]
    head = thing(built(told([("tool-events", encoded(event)) for event in events])[1]), POLICY, "pii")
    assert head.overflow == ("rules",)
    assert head.rules == {f"r{number:03}": {"allow": 5} for number in range(64)}


def test_a_template_without_a_version_is_a_dead_letter_that_says_so_and_stops_nothing() -> None:
    """Two versions under no name could not be told apart: the producer has to say which."""
    bad = invoked(0, prompt_template={"template_id": "t"})
    folded = timelines_of.fold(
        MemoryRows(),
        arriving([("model-invocations", encoded(event)) for event in (bad, invoked(1))]),
        0,
        0,
    )
    (letter,) = folded.sends
    headers = dict(letter.headers)
    assert letter.value == encoded(bad)
    assert headers[deadletter.REASON] == deadletter.INVALID.encode()
    assert b"data.prompt_template.version" in headers[deadletter.DETAIL]
    assert folded.counts == {"dead_letter": 1, "folded": 1}


def test_what_a_rule_says_is_counted_by_outcome() -> None:
    events = [
        document(
            "policy.evaluated", event_id=f"e{number}", occurred_at=at(number),
            data={"policy_id": "pii", "outcome": outcome, "rule_id": rule, "reason_code": "r"},
        )
        for number, (outcome, rule) in enumerate([("allow", "r1"), ("deny", "r1"), ("deny", None)])
    ]  # fmt: skip
    _, usage = told([("tool-events", encoded(event)) for event in events])
    rows = built(usage)
    head = thing(rows, POLICY, "pii")
    assert head.outcomes == {"allow": 1, "deny": 2}
    assert head.rules == {"r1": {"allow": 1, "deny": 1}, "": {"deny": 1}}
    only = lookup.list_evaluations(rows, "pii", None, "deny", "r1", Stretch(), None, 10).items
    assert [(item["event_id"], item["rule_id"], item["reason_code"]) for item in only] == [("e1", "r1", "r")]


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (None, b"\x01\x93\x90\x90\x90", deadletter.UNDECODABLE),
        (b"tt\x001\x000", None, deadletter.UNDECODABLE),
        (b"tt\x001\x000", b"\x01\x93", deadletter.UNDECODABLE),
        (b"tt\x001\x000", b"\x01\xc0", deadletter.UNDECODABLE),
        (b"zt\x001\x000", b"\x01\x93\x90\x90\x90", deadletter.INVALID),
        (b"no shelf", b"\x01\x93\x90\x90\x90", deadletter.INVALID),
        (b"t\xff\x001\x000", b"\x01\x93\x90\x90\x90", deadletter.INVALID),
    ],
)
def test_what_is_no_usage_is_a_dead_letter(key: bytes | None, value: bytes | None, reason: str) -> None:
    folded = index.fold(MemoryRows(), [Log("template-usage", 0, value, key=key)], 0, 0)
    (send,) = folded.sends
    assert dict(send.headers)[deadletter.REASON] == reason.encode()
    assert folded.rows == []


def test_a_shelf_of_another_partition_is_misrouted() -> None:
    _, usage = told([("model-invocations", encoded(invoked(0)))])
    elsewhere = IndexFold(partition_of=lambda _: 1, max_record_bytes=1 << 20)
    folded = elsewhere.fold(MemoryRows(), usage, 0, 0)
    assert {dict(send.headers)[deadletter.REASON] for send in folded.sends} == {deadletter.MISROUTED.encode()}


def test_usage_of_a_newer_release_stops_the_worker_and_is_not_buried() -> None:
    _, usage = told([("model-invocations", encoded(invoked(0)))])
    newer = Log("template-usage", 0, b"\x02" + (usage[0].value or b"")[1:], key=usage[0].key)
    with pytest.raises(UnknownRowFormat, match="usage row has format 2"):
        index.fold(MemoryRows(), [newer], 0, 0)


@pytest.mark.parametrize("event_type", sorted(MODELS))
def test_nothing_confidential_reaches_the_usage(event_type: str) -> None:
    event = {**full(MODELS[event_type], "canary"), "event_type": event_type, "schema_version": 1}
    timelines, usage = told([("model-invocations", encoded(event))])
    assert len(timelines) > 0
    assert not any(b"canary" in (one.key or b"") + (one.value or b"") for one in usage)
    assert not any(b"canary" in key + value for key, value in built(usage).items())


@pytest.mark.parametrize("event_type", sorted(MODELS))
def test_a_glimpse_sees_what_the_event_says(event_type: str) -> None:
    event = decode(encoded({**full(MODELS[event_type], "canary"), "event_type": event_type, "schema_version": 1}))
    seen = glimpse(project(event))
    uses = event_type.startswith("model.") or event_type in (
        "tool.call_started", "tool.call_completed", "tool.call_failed", "retrieval.performed", "policy.evaluated",
    )  # fmt: skip
    assert (seen is not None) == uses
    if seen is not None:
        assert seen.decision_id == event.decision_id
        assert all(opened(named + b"0").name for named in seen.touched)


def test_a_step_of_many_uses_is_several_records() -> None:
    events = [encoded({**invoked(0), "event_id": f"e{number}", "workflow_id": "w"}) for number in range(2500)]
    _, usage = told([("model-invocations", event) for event in events])
    of_template = [one for one in usage if (one.key or b"").startswith(things(TEMPLATE, "t"))]
    assert len(of_template) == 3
    assert thing(built(usage), TEMPLATE, "t").uses == 2500
