"""A dead letter carries the original bytes and its context, fits its topic, and is the same whenever it is made."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from replayer.core.deadletters import MAX_HEADER_BYTES, MAX_KEY_BYTES, dead_letter
from replayer.core.outcome import Send
from tests.drawn import Log
from topics import deadletter
from topics.catalogue import CONTEXT_BYTES, DEAD_LETTERS
from topics.letters import DeadLetterHeaders

RECORD = Log(
    "tool-events", 42, b"\xff\x00broken", 3, 1_738_324_800_000, b"wf", [("traceparent", b"00-1"), ("x", b"\xff")]
)


def made(record: Log, max_bytes: int = 1000) -> tuple[Send, dict[str, bytes]]:
    send = dead_letter(record, deadletter.INVALID, "ValidationError", "event_id: too long", max_bytes, 7)
    assert send.topic == DEAD_LETTERS.name
    DeadLetterHeaders.model_validate_json(json.dumps({name: value.decode("latin-1") for name, value in send.headers}))
    return send, dict(send.headers)


def test_original_bytes_key_and_headers_are_kept_and_the_context_is_beside_them() -> None:
    send, headers = made(RECORD)
    assert (send.value, send.key) == (RECORD.value, RECORD.key)
    assert headers == {
        "traceparent": b"00-1", "x": b"\xff",
        "replayer-dead-letter-id": headers[deadletter.ID], "replayer-reason": b"invalid",
        "replayer-error-class": b"ValidationError", "replayer-detail": b"event_id: too long",
        "replayer-topic": b"tool-events", "replayer-partition": b"3", "replayer-offset": b"42",
        "replayer-timestamp-ms": b"1738324800000", "replayer-failed-at-ms": b"7", "replayer-size-bytes": b"8",
    }  # fmt: skip
    assert set(headers) - {"traceparent", "x"} <= set(deadletter.CONTEXT)


def test_the_model_has_every_header_and_every_reason() -> None:
    fields = DeadLetterHeaders.model_fields
    assert {field.alias for field in fields.values()} == set(deadletter.CONTEXT)
    assert get_args(fields["reason"].annotation) == deadletter.REASONS


def test_the_id_is_the_positions() -> None:
    def identity(record: Log, now_ms: int) -> bytes:
        return dict(dead_letter(record, "poison", "E", "d", 10, now_ms).headers)[deadletter.ID]

    same = {identity(RECORD, now_ms) for now_ms in (0, 10**12)}
    others = {identity(Log("tool-events", offset, b"", partition), 0) for offset in (1, 11, 42) for partition in (1, 3)}
    assert len(same) == 1
    assert len(others) == 6
    assert same < others


def test_a_null_value_stays_null_and_an_empty_one_empty() -> None:
    assert made(Log("tool-events", 0, None))[0].value is None
    send, headers = made(Log("tool-events", 0, b""))
    assert send.value == b""
    assert deadletter.POINTER not in headers


def test_a_value_above_the_limit_is_pointed_at() -> None:
    send, headers = made(Log("tool-events", 5, b"x" * 1000, 2))
    assert len(send.value or b"") == 1000
    assert deadletter.POINTER not in headers
    send, headers = made(Log("tool-events", 5, b"x" * 1001, 2))
    assert send.value == b""
    assert (headers[deadletter.POINTER], headers[deadletter.SIZE]) == (b"tool-events/2/5", b"1001")


def test_key_and_headers_that_do_not_fit_are_left_in_their_topic() -> None:
    send, headers = made(Log("tool-events", 5, b"v", key=b"k" * (MAX_KEY_BYTES + 1)))
    assert send.key is None
    assert deadletter.POINTER in headers
    large = [("h", b"x" * (MAX_HEADER_BYTES // 2)), ("i", b"x" * (MAX_HEADER_BYTES // 2))]
    send, headers = made(Log("tool-events", 5, b"v", headers=large))
    assert headers[deadletter.HEADERS_DROPPED] == b"2"
    assert deadletter.POINTER in headers
    assert "h" not in headers


def test_whatever_the_record_the_letter_stays_within_its_topics_room() -> None:
    hostile = Log(
        "t" * 249,
        2**63 - 1,
        b"v" * 1000,
        2**31 - 1,
        2**63 - 1,
        b"k" * MAX_KEY_BYTES,
        [("h", b"x" * (MAX_HEADER_BYTES - 1))],
    )
    send = dead_letter(hostile, deadletter.UNDECODABLE, "C" * 100, "d" * 600, 1000, 2**63 - 1)
    beside = len(send.key or b"") + sum(len(name) + len(value) for name, value in send.headers)
    assert beside < CONTEXT_BYTES


@pytest.mark.parametrize("name", ["replayer-reason", "replayer-anything", "original-x", "original-replayer-reason"])
def test_a_producers_header_cannot_pass_for_the_context(name: str) -> None:
    send, headers = made(Log("tool-events", 0, b"v", headers=[(name, b"theirs")]))
    assert headers[deadletter.ORIGINAL_PREFIX + name] == b"theirs"
    assert headers[deadletter.REASON] == b"invalid"
    assert len(headers) == len(send.headers)
