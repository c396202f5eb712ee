"""Declared rules make events of others' JSON; what they cannot make is told by the rule, never by the value."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics.codec import read
from topics.mapping import BadRule, Foreign, Rules, Unmapped
from topics.undecodable import Undecodable

RULES = {
    "event_type": "'tool.call_completed'",
    "event_id": "id",
    "workflow_id": "run.id",
    "occurred_at": "from_ms(finished)",
    "tenant_id": "header('tenant')",
    "source": "'crawler'",
    "agent_id": "run.agent",
    "trace_id": "trace",
    "data.call_id": "key()",
    "data.tool_name": "tool.name",
    "data.tool_version": "tool.version",
    "data.latency_ms": "took",
}
VALUE = {
    "id": "c-1", "run": {"id": "w-7", "agent": "support"}, "finished": 1_738_324_800_123, "took": 12,
    "tool": {"name": "search", "version": None}, "secret": "CANARY",
}  # fmt: skip
RECORD = Foreign("calls", 3, 42, 1_738_324_800_999, b"call-9", [("tenant", b"acme"), ("tenant", b"other")])

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def made(value: Any = VALUE, record: Foreign = RECORD, **rules: str) -> Any:
    found = Rules({**RULES, **{name.replace("__", "."): rule for name, rule in rules.items()}}).apply(record, value)
    return found if isinstance(found, Unmapped) else orjson.loads(found)


def test_an_event_is_made_of_value_key_headers_and_constants() -> None:
    event = made()
    assert event == {
        "event_type": "tool.call_completed", "schema_version": 1, "event_id": "c-1", "workflow_id": "w-7",
        "occurred_at": "2025-01-31T12:00:00.123000Z", "tenant_id": "acme", "source": "crawler", "agent_id": "support",
        "data": {"call_id": "call-9", "tool_name": "search", "latency_ms": 12},
    }  # fmt: skip
    assert not isinstance(read(orjson.dumps(event)), Undecodable)


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("position()", "calls/3/42"),
        ("timestamp()", "2025-01-31T12:00:00.999000Z"),
        ("from_s(`1738324800`)", "2025-01-31T12:00:00Z"),
        ("from_s(`1738324800.25`)", "2025-01-31T12:00:00.250000Z"),
        ("from_ms(`-1`)", "1969-12-31T23:59:59.999000Z"),
        ("join('-', [run.id, id])", "w-7-c-1"),
        ("to_string(took)", "12"),
    ],
)
def test_functions(rule: str, found: str) -> None:
    assert made(event_id=rule)["event_id"] == found


@pytest.mark.parametrize("value", [{}, [], None, 3, "text", {**VALUE, "id": None}])
def test_rules_that_match_nothing_name_the_one_that_had_to(value: Any) -> None:
    found = made(value, event_id="id", occurred_at="timestamp()")
    assert found == Unmapped("event_id", "NothingMatched", "every event says it, and the rule found nothing")


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("soon", "from_ms(finished)"),
        (10**30, "from_ms(finished)"),
        (1e308, "from_s(finished)"),
        (True, "from_s(finished)"),
    ],
)
def test_a_rule_that_does_not_fit_is_named_and_the_value_is_not(value: Any, rule: str) -> None:
    found = made({**VALUE, "finished": value}, occurred_at=rule)
    assert isinstance(found, Unmapped)
    assert found.rule == "occurred_at"
    assert str(value) not in f"{found.error_class} {found.why}"


def test_a_key_that_is_no_text_names_its_rule() -> None:
    record = Foreign("calls", 0, 0, 0, b"\xff", RECORD.headers)
    assert made(record=record) == Unmapped("data.call_id", "UnicodeDecodeError", "the rule does not fit what it found")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"event_type": "'tool.called'"}, "nobody registered 'tool.called'"),
        ({"event_id": "id["}, "event_id: 'id\\[' is not JMESPath"),
        ({"event_id": None}, "event_id: every event says it"),
        ({"colour": "id"}, "colour: no field of an event"),
        ({"event_id.x": "id"}, "event_id.x: no field of an event"),
        ({"data.colour": "id"}, "data.colour: ToolCallCompleted has no such field"),
        ({"data.call_id.x": "id"}, "data.call_id.x: call_id has no fields of its own"),
        ({"data.tool_name": None}, "data.tool_name: tool.call_completed says it"),
        ({"data.output": "o", "data.output.uri": "u"}, "data.output.uri: data.output has a rule as well"),
        ({f"data.x{n}": "id" for n in range(100)}, "more than 100 rules"),
    ],
)
def test_rules_that_cannot_work_are_refused_when_they_are_declared(change: dict[str, str | None], said: str) -> None:
    rules = {name: rule for name, rule in {**RULES, **change}.items() if rule is not None}
    with pytest.raises(BadRule, match=said):
        Rules(rules)


def test_fields_below_fields_and_types_that_are_found() -> None:
    event = made(data__output__uri="'s3://x'", data__output__sha256="'" + "0" * 64 + "'")
    assert event["data"]["output"] == {"uri": "s3://x", "sha256": "0" * 64}
    assert made({**VALUE, "kind": "policy.evaluated"}, event_type="kind")["event_type"] == "policy.evaluated"
    unknown = made({**VALUE, "kind": "tool.called"}, event_type="kind")
    assert unknown["event_type"] == "tool.called"
    assert "schema_version" not in unknown
    refused = read(orjson.dumps(unknown))
    assert isinstance(refused, Undecodable)
    assert refused.error_class == "UnknownEventType"


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        (None, True),
        ("took > `5`", True),
        ("took > `50`", False),
        ("tool.version", False),
        ("took", True),
        ("`0`", True),
    ],
)
def test_which_records_they_concern(when: str | None, holds: bool) -> None:
    assert Rules(RULES, when).concern(RECORD, VALUE) is holds


def test_a_condition_that_does_not_fit_is_no_answer() -> None:
    found = Rules(RULES, "starts_with(took, 'x')").concern(RECORD, VALUE)
    assert isinstance(found, Unmapped)
    assert found.rule == "when"
    with pytest.raises(BadRule, match="when: 'took >' is not JMESPath"):
        Rules(RULES, "took >")


@given(JSON, st.one_of(st.none(), st.binary(max_size=4)), st.integers(-(2**63), 2**63 - 1))
def test_whatever_the_record_it_is_mapped_or_refused(value: Any, key: bytes | None, timestamp_ms: int) -> None:
    record = Foreign("calls", 0, 0, timestamp_ms, key, [])
    rules = Rules({**RULES, "event_id": "to_string(@)", "occurred_at": "timestamp()", "tenant_id": "'t'"})
    found = rules.apply(record, value)
    assert isinstance(found, bytes | Unmapped)
    if isinstance(found, bytes):
        read(found)


EXPRESSIONS = [
    "contains(a, b)", "contains('text', b)", "sort(a)", "sort_by(a, &b)", "max_by(a, &b)", "join(a, b)", "sum(a)",
    "abs(b)", "avg(a)", "to_number(a)", "to_number(b)", "reverse(a)", "merge(a, b)", "map(&length(@), a)", "keys(a)",
    "from_s(b)", "from_ms(a)", "header(a)", "a[?b > `1`]", "a[::-1]", "a.*.b", "length(b)", "ceil(a)",
    "starts_with(a, b)", "not_null(a, b)",
]  # fmt: skip


@given(st.sampled_from(EXPRESSIONS), JSON, JSON | st.from_regex(r"-?[0-9]{1,25}", fullmatch=True))
def test_whatever_a_rule_does_with_what_it_finds_is_an_event_or_its_refusal(rule: str, a: Any, b: Any) -> None:
    for field in ("event_id", "data.latency_ms"):
        rules = Rules({**RULES, "workflow_id": "'w'", "occurred_at": "timestamp()", "agent_id": "'a'", field: rule})
        found = rules.apply(RECORD, {"a": a, "b": b, "id": "i", "tool": {"name": "n"}})
        if isinstance(found, Unmapped):
            assert found.rule == field
        else:
            orjson.loads(found)
        assert isinstance(Rules(RULES, rule).concern(RECORD, {"a": a, "b": b}), bool | Unmapped)


@pytest.mark.parametrize(
    ("rule", "took", "error"),
    [
        ("contains('text', took)", 5, "TypeError"),
        ("to_number(took)", "99999999999999999999", "JSONEncodeError"),
        ("took", 10**30, "JSONEncodeError"),
        ("took", "\ud800", "JSONEncodeError"),
    ],
)
def test_what_cannot_be_written_or_compared_names_its_rule(rule: str, took: Any, error: str) -> None:
    found = made({**VALUE, "took": took}, data__latency_ms=rule)
    assert isinstance(found, Unmapped)
    assert found.rule == "data.latency_ms"
    assert found.error_class in (error, "TypeError")
    assert str(took) not in found.why


@given(st.integers(-(10**10), 10**10) | st.floats(-1e10, 1e10))
def test_instants_are_exact_to_the_microsecond(seconds: float) -> None:
    found = made(value={**VALUE, "at": seconds}, occurred_at="from_s(at)")
    event = read(orjson.dumps(found))
    assert not isinstance(event, Undecodable)
    assert event[0].occurred_us == math.floor(seconds * 1_000_000)
