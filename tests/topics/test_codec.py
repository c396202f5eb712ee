"""Any bytes decode to a value, and the two decoders give the same verdict."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.drawn import edges, events, full
from tests.topics.spelled import SMALL, accepted, compact, refused
from topics import deadletter
from topics.bounds import DEFAULT, long_number, skeleton
from topics.codec import Undecodable, decode, read
from topics.envelope import Envelope
from topics.events import MODELS, wire
from topics.fast import ANY_EVENT, Event
from topics.fields import micros, rfc3339, utc

odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a" * 129, "a" * 257, "\x00", "e\x00", "2025-01-31", "0" * 32, "G" * 64, 10**19, -(2**63)])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@st.composite
def nearly_valid(draw: st.DrawFn) -> dict[str, Any]:
    """An event with one of its values, at any depth, changed, dropped or added."""
    document = draw(events())
    at: Any = document
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = draw(st.sampled_from([*keys, "extra"] if isinstance(at, dict) else keys)) if keys else "extra"
        inner = at.get(key) if isinstance(at, dict) else at[key]
        if isinstance(inner, dict | list) and inner and draw(st.booleans()):
            at = inner
            continue
        if isinstance(at, dict) and key in at and draw(st.integers(0, 3)) == 0:
            del at[key]
        elif isinstance(at, dict) or keys:
            at[key] = draw(odd)
        return document


def verdicts(document: dict[str, Any], raw: bytes) -> tuple[Any, Any]:
    """What msgspec and pydantic make of the same bytes: an event each, or None."""
    try:
        fast = msgspec.json.decode(raw, type=ANY_EVENT)
        fast = fast if fast.hexadecimal() else None  # the hot path's second half
    except (msgspec.MsgspecError, ValueError, RecursionError):
        fast = None
    kind = document.get("event_type")
    try:
        exact = MODELS[kind].model_validate_json(raw) if isinstance(kind, str) and kind in MODELS else None
    except ValidationError:
        exact = None
    return fast, exact


@given(nearly_valid() | events(), st.booleans())
@settings(max_examples=250)
def test_what_msgspec_accepts_pydantic_accepts_with_the_same_value(document: dict[str, Any], escape: bool) -> None:
    raw = json.dumps(document, ensure_ascii=escape).encode()
    assume(b"\\u0000" not in raw)  # the codec never asks msgspec alone about those
    fast, exact = verdicts(document, raw)
    if fast is not None:
        try:
            at = utc(fast.occurred_at)
        except ValueError:
            assert exact is None  # the codec asks pydantic about the calendar's edges
            return
        assert exact is not None
        normal = msgspec.structs.replace(fast, occurred_at=at)
        assert normal == msgspec.json.decode(wire(exact), type=ANY_EVENT)
    else:
        assert exact is None


@given(nearly_valid() | events(), st.booleans())
@settings(max_examples=200)
def test_the_codec_gives_pydantics_verdict(document: dict[str, Any], escape: bool) -> None:
    raw = json.dumps(document, ensure_ascii=escape).encode()
    assume(not long_number(skeleton(raw), DEFAULT.max_integer_digits))  # a rule of ours, not of the models
    _, exact = verdicts(document, raw)
    found = decode(raw)
    if exact is not None:
        assert isinstance(found, Event), found
        assert found == msgspec.json.decode(wire(exact), type=ANY_EVENT)
        assert found.occurred_us == micros(exact.occurred_at)
    else:
        assert isinstance(found, Undecodable) or found.future


@given(st.binary() | st.text().map(str.encode) | odd.map(lambda v: json.dumps(v).encode()))
@settings(max_examples=200)
def test_any_bytes_decode_to_a_value(raw: bytes) -> None:
    assert isinstance(decode(raw), Event | Undecodable)


@given(events(), st.lists(st.tuples(st.sampled_from(["traceparent", "x"]) | st.text(), st.none() | st.binary())))
def test_any_headers_leave_an_event_an_event(document: dict[str, Any], headers: list[tuple[str, bytes | None]]) -> None:
    assert isinstance(decode(compact(document), headers=headers), Event)


@given(events(), st.data())
@settings(max_examples=200)
def test_damaged_bytes_decode_to_a_value(document: dict[str, Any], data: st.DataObject) -> None:
    raw = bytearray(compact(document))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    found = decode(bytes(raw))
    assert isinstance(found, Event | Undecodable)
    if isinstance(found, Event):
        bytes(raw).decode()  # whatever was accepted is UTF-8 to the last byte
        json.loads(bytes(raw))


@given(events())
@settings(max_examples=100)
def test_content_is_the_meaning_not_the_spelling(document: dict[str, Any]) -> None:
    spellings = [
        compact(document),
        json.dumps(document, indent=2, sort_keys=True).encode(),
        compact({**dict(reversed(document.items())), "unknown_field": [1, {"x": None}]}),
        wire(MODELS[document["event_type"]].model_validate_json(compact(document))),
    ]
    found = {read(raw)[1] for raw in spellings}  # type: ignore[index]  # Undecodable has no items: that is a failure
    assert len(found) == 1


@pytest.mark.parametrize("event_type", MODELS)
def test_both_decoders_draw_every_fields_line_at_the_same_place(event_type: str) -> None:
    for path, within, beyond in edges(MODELS[event_type]):
        for values, good in ((within, True), (beyond, False)):
            for value in values:
                document: Any = full(MODELS[event_type], "x")
                *holders, last = path
                at = document
                for key in holders:
                    at = at[key]
                at[last] = value
                raw = compact(document)
                fast, exact = verdicts({"event_type": event_type}, raw)
                said = f"{path} = {value!r:.40}"
                assert (exact is not None) == good, said
                if b"\\u0000" not in raw:
                    assert (fast is not None) == good, said
                assert isinstance(decode(raw), Event) == good, said


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2025-01-31T12:00:00Z", "2025-01-31T12:00:00.000000Z"),
        ("2025-01-31T12:00:00.1Z", "2025-01-31T12:00:00.100000Z"),
        ("2025-01-31T12:00:00.123456+02:00", "2025-01-31T10:00:00.123456Z"),
        ("2025-01-01T00:30:00-00:30", "2025-01-01T01:00:00.000000Z"),
        ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_instants_are_normalised_to_utc(written: str, meant: str) -> None:
    assert rfc3339(accepted(compact({**SMALL, "occurred_at": written})).occurred_us) == meant


def test_a_future_version_keeps_its_envelope() -> None:
    document = {**SMALL, "schema_version": 2, "data": {"another": "shape", "score": "not a number any more"}}
    found = accepted(compact(document))
    assert found.future
    assert found.data is None
    assert (found.event_type, found.schema_version, found.event_id) == ("feedback.received", 2, SMALL["event_id"])
    assert refused(compact({**document, "agent_id": ""})).reason == deadletter.INVALID
    assert not accepted(compact(SMALL)).future


def test_the_trace_context_of_the_header_counts_where_the_envelope_has_none() -> None:
    bare = {**SMALL, "trace_id": None, "span_id": None}
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    header = [("other", b"\xff"), ("traceparent", f"00-{trace}-{span}-01".encode())]
    found, content = read(compact(bare), headers=header)
    assert (found.trace_id, found.span_id) == (trace, span)
    assert content == read(compact({**bare, "trace_id": trace, "span_id": span}))[1]
    assert decode(compact(SMALL), headers=header) == decode(compact(SMALL))
    for useless in (None, b"", b"00-x", f"00-{'0' * 32}-{span}-01".encode(), f"00-{trace}-{'0' * 16}-01".encode()):
        assert decode(compact(bare), headers=[("traceparent", useless)]) == decode(compact(bare))


CANARY = "canary-7f3a"


@given(nearly_valid())
@settings(max_examples=200)
def test_a_refusal_never_quotes_the_event(document: dict[str, Any]) -> None:
    def planted(value: Any) -> Any:
        match value:
            case dict():
                return {name: planted(inner) for name, inner in value.items()} | {CANARY: CANARY}
            case list():
                return [planted(inner) for inner in value]
            case str():
                return CANARY * 40
        return value

    kind = document.get("event_type")
    found = decode(compact({**planted(document), "event_type": kind}))
    assert isinstance(found, Undecodable)
    assert CANARY not in found.detail
    assert len(found.detail) < 600


def test_the_structs_have_the_envelopes_fields() -> None:
    assert Event.__struct_fields__ == ()  # msgspec must not see the list made for type checkers
    for event_type in MODELS:
        found = accepted(compact(full(MODELS[event_type], "x")))
        assert found.event_type == event_type
        assert {*found.__struct_fields__, "event_type"} == {*Envelope.model_fields, "data"}


def test_the_list_made_for_type_checkers_is_the_envelope() -> None:
    body = ast.parse(textwrap.dedent(inspect.getsource(Event))).body[0]
    listed = next(node for node in ast.walk(body) if isinstance(node, ast.If)).body
    names = [node.target.id for node in listed if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    assert names == [name for name in [*Envelope.model_fields, "data"] if name != "event_type"]
