"""The index says what a scan of the timelines says, whatever is repeated, torn or comes in another order."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replayer.core import lookup
from replayer.core.decisions import decode_decision
from replayer.core.glimpse import glimpse
from replayer.core.lookup import Stretch
from replayer.core.rows import DECISION, EVENT, FUTURE, NUL, decode_event
from replayer.core.shelf import MODEL, POLICY, TEMPLATE, opened
from replayer.core.shelf_head import described_template
from replayer.core.shelf_rows import CONTRIBUTION, HEAD, USE, decode_contribution, decode_place
from tests.core.shelves import (
    WORKFLOWS,
    built,
    fold,
    in_log,
    invoked,
    listed,
    pages,
    splits,
    thing,
    told,
)
from tests.core.timelines import at, deliveries, document, encoded
from tests.drawn import MemoryRows
from topics.codec import decode
from topics.fields import rfc3339


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
