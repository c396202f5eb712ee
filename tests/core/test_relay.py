"""What is keyed otherwise is sent on as events keyed by workflow ID, each once, or buried where it came from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.core import reading
from replayer.core.deadletters import dead_letter
from replayer.core.indexing import indexed
from replayer.core.origin import Origin, Originated, origin_of
from replayer.core.outcome import Send, whole
from replayer.core.relay import RelayFold
from replayer.core.rows import ORIGIN
from replayer.core.timeline import TimelineFold
from tests.core.timelines import document, documents, encoded
from tests.drawn import Log, MemoryRows
from topics import deadletter
from topics.catalogue import DEAD_LETTERS, REKEYED_EVENTS, TEMPLATE_USAGE
from topics.mapping import Rules
from topics.usage import Usage

LIMIT = 1 << 20
NOTHING, NO_TEXT = "every event says it, and the rule found nothing", "Input should be a valid string"
AS_THEY_ARE = RelayFold((), max_record_bytes=LIMIT)
CALLS = Rules(
    {
        "event_type": "'tool.call_started'",
        "event_id": "position()",
        "workflow_id": "run",
        "occurred_at": "timestamp()",
        "tenant_id": "'acme'",
        "source": "'crawler'",
        "agent_id": "'a'",
        "data.call_id": "key()",
        "data.tool_name": "tool",
    },
    when="kind == 'call'",
)
NOTES = Rules(
    {
        "event_type": "'feedback.received'",
        "event_id": "id",
        "workflow_id": "run",
        "occurred_at": "at",
        "tenant_id": "'acme'",
        "source": "'desk'",
        "agent_id": "'a'",
        "data.score": "score",
    },
    when="kind == 'note'",
)
MAPPED = RelayFold((CALLS, NOTES), max_record_bytes=LIMIT)


def record(value: Any, offset: int = 7, **told: Any) -> Log:
    raw = value if isinstance(value, bytes | None) else orjson.dumps(value)
    return Log("calls", offset, raw, **{"partition": 3, "key": b"call-1", **told})


def sends(fold: RelayFold, *records: Log) -> list[Send]:
    folded = fold.fold(MemoryRows(), records, 3, 99)
    assert not folded.rows
    assert not folded.implied
    assert sum(folded.counts.values()) == len(records) == len(folded.sends)
    return folded.sends


def why(send: Send) -> tuple[str, str, str]:
    assert send.topic == DEAD_LETTERS.name
    headers = dict(send.headers)
    found = [headers[name] for name in (deadletter.REASON, deadletter.ERROR_CLASS, deadletter.DETAIL)]
    reason, error_class, detail = (value.decode() for value in found if value is not None)
    return reason, error_class, detail


def test_an_event_keyed_otherwise_is_keyed_by_its_workflow_and_says_where_it_was() -> None:
    raw = encoded(document("policy.evaluated", workflow_id="w-é"))
    (send,) = sends(AS_THEY_ARE, record(raw, headers=(("traceparent", b"00-1"), ("x", b"y"))))
    assert send == Send(
        REKEYED_EVENTS.name,
        "w-é".encode(),
        raw,
        (("replayer-origin", b"calls/3/7/1738324800000"), ("traceparent", b"00-1")),
    )


def test_the_first_rules_that_concern_a_record_make_its_event() -> None:
    call, note = sends(
        MAPPED,
        record({"kind": "call", "run": "w-1", "tool": "search"}),
        record({"kind": "note", "run": "w-2", "id": "n-1", "at": "2025-01-31T12:00:00Z", "score": 1}, 8),
    )
    assert (call.topic, call.key) == (REKEYED_EVENTS.name, b"w-1")
    assert orjson.loads(call.value or b"")["event_id"] == "calls/3/7"
    assert (note.topic, note.key) == (REKEYED_EVENTS.name, b"w-2")
    assert orjson.loads(note.value or b"")["data"] == {"score": 1}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"kind": "bill"}, ("unmapped", "NothingMatched", "when: no rules concern this record")),
        ({"kind": "call", "tool": "t"}, ("unmapped", "NothingMatched", f"events[0].workflow_id: {NOTHING}")),
        ({"kind": "call", "run": "w"}, ("invalid", "ValidationError", "data.tool_name: Field required")),
        ({"kind": "call", "run": 7, "tool": "t"}, ("invalid", "ValidationError", f"workflow_id: {NO_TEXT}")),
        (b"{", ("undecodable", "MalformedJson", "not JSON (RFC 8259) at character 1")),
        (b'{"kind": "call", "kind": "call"}', ("invalid", "DuplicateKey", "an object has the same key twice")),
        (None, ("undecodable", "NullValue", "the record has no value")),
        (b" " * (LIMIT + 1), ("oversized", "RecordTooLarge", f"more than {LIMIT} bytes")),
    ],
)  # fmt: skip
def test_what_is_no_event_is_a_dead_letter_that_names_the_rule(value: Any, told: tuple[str, str, str]) -> None:
    sent, buried, after = sends(
        MAPPED,
        record({"kind": "call", "run": "w", "tool": "t"}, 6),
        record(value),
        record({"kind": "call", "run": "w", "tool": "t"}, 8),
    )
    assert why(buried) == told
    assert {sent.topic, after.topic} == {REKEYED_EVENTS.name}
    assert dict(buried.headers)[deadletter.OFFSET] == b"7"


def test_events_keyed_otherwise_are_held_to_their_types_before_they_are_sent_on() -> None:
    wrong = {**document("policy.evaluated"), "data": {"policy_id": "pii"}}
    unknown = {**document("policy.evaluated"), "event_type": "nobody.knows"}
    assert [why(send)[:2] for send in sends(AS_THEY_ARE, record(wrong), record(unknown))] == [
        ("invalid", "ValidationError"),
        ("invalid", "UnknownEventType"),
    ]
    future = {**document("policy.evaluated"), "schema_version": 99}
    assert sends(AS_THEY_ARE, record(future))[0].topic == REKEYED_EVENTS.name


@given(
    st.lists(st.one_of(st.none(), st.binary(max_size=30), st.just(b'{"kind":"call","run":"w","tool":"t"}')), max_size=9)
)
def test_every_record_is_sent_once_and_in_its_order(values: list[bytes | None]) -> None:
    records = [record(value, offset) for offset, value in enumerate(values)]
    found = [
        int(dict(send.headers)["replayer-origin"].split(b"/")[2])
        if send.topic == REKEYED_EVENTS.name
        else int(dict(send.headers)[deadletter.OFFSET] or b"")
        for send in sends(MAPPED, *records)
    ]
    assert found == list(range(len(values)))
    assert sends(MAPPED, *records) == sends(MAPPED, *records)


@given(st.text("abc.-_", min_size=1), st.integers(0, 2**31), st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_an_origin_comes_back_from_its_header(topic: str, partition: int, offset: int, timestamp_ms: int) -> None:
    origin = Origin(topic, partition, offset, timestamp_ms)
    rekeyed = Log(REKEYED_EVENTS.name, 1, b"", headers=(("x", b""), origin.header()))
    assert origin_of(rekeyed) == origin
    assert origin_of(replace(rekeyed, topic="tool-events")).topic == "tool-events", "nobody may say so elsewhere"


@pytest.mark.parametrize(
    "said", [None, b"", b"a/1/2", b"a/1/2/x", b"/1/2/3", b"a/1/2/3/4", b"a/\xb2/2/3", b"a/1/2/" + b"9" * 20]
)
def test_a_header_that_is_no_origin_is_none(said: bytes | None) -> None:
    rekeyed = Log(REKEYED_EVENTS.name, 1, b"", 2, 3, headers=(("replayer-origin", said),))
    assert origin_of(rekeyed) == Origin(REKEYED_EVENTS.name, 2, 1, 3)


def test_a_dead_letter_of_a_record_that_was_keyed_anew_says_where_that_came_from() -> None:
    origin = Origin("calls", 3, 7, 1_738_324_800_000)
    rekeyed = Log(REKEYED_EVENTS.name, 1, b"v", headers=(origin.header(),))
    ours, theirs = (dict(dead_letter(one, "poison", "E", "d", 10, 9).headers) for one in (rekeyed, record(b"v")))
    for name in (deadletter.ID, deadletter.TOPIC, deadletter.PARTITION, deadletter.OFFSET, deadletter.TIMESTAMP):
        assert ours[name] == theirs[name]


@given(st.lists(st.tuples(documents(), st.booleans()), max_size=8))
def test_beside_each_event_stands_where_its_record_was_first(told: list[tuple[dict[str, Any], bool]]) -> None:
    records = []
    for offset, (event, anew) in enumerate(told):
        if anew:
            (send,) = sends(AS_THEY_ARE, record(event, offset * 10))
            records.append(Log(send.topic, offset, send.value, key=send.key, headers=send.headers))
        else:
            records.append(Log("tool-events", offset, orjson.dumps(event)))
    plain = TimelineFold(partition_of=lambda _: 0, max_record_bytes=LIMIT)
    folded = whole(Originated(plain.folding).folding(MemoryRows(), records, 0, 7))
    without = plain.fold(MemoryRows(), records, 0, 7)
    assert [row for row in folded.rows if row[0][:1] != ORIGIN] == without.rows
    rows = MemoryRows()
    rows.write(folded.stored)
    page = reading.timeline(rows, "acme", "w", limit=100)
    for item in page.items:
        at = item["position"]
        if at["topic"] == "tool-events":
            assert told[at["offset"]][1] is False
        else:
            assert (at["topic"], at["partition"]) == ("calls", 3)
            assert told[at["offset"] // 10][1] is True
    assert sum(key[:1] == ORIGIN for key in rows) == sum(i["position"]["topic"] == "calls" for i in page.items)


def test_the_index_is_told_where_a_record_that_was_keyed_anew_was_first() -> None:
    plain = TimelineFold(partition_of=lambda _: 0, max_record_bytes=LIMIT)
    (send,) = sends(AS_THEY_ARE, record(document("policy.evaluated", event_id="theirs"), 70))
    records = [
        Log(send.topic, 1, send.value, key=send.key, headers=send.headers),
        Log("policy-events", 2, orjson.dumps(document("policy.evaluated", event_id="ours"))),
    ]
    folded = whole(Originated(lambda *step: indexed(plain.folding(*step))).folding(MemoryRows(), records, 0, 7))
    usages = [
        msgspec.msgpack.decode((one.value or b"")[1:], type=Usage)
        for one in folded.sends
        if one.topic == TEMPLATE_USAGE.name
    ]
    told = {use.event_id: (use.topic, use.partition, use.offset) for usage in usages for use in usage.uses}
    assert told == {"theirs": ("calls", 3, 70), "ours": ("policy-events", 0, 2)}
