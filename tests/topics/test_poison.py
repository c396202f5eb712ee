"""Bytes that are no event are refused for their reason, and the limits are exact."""

from __future__ import annotations

import pytest

from tests.topics.spelled import SMALL, accepted, compact, refused
from topics import deadletter
from topics.bounds import Limits
from topics.codec import decode
from topics.fast import Event

POISON = {
    "null value": (None, deadletter.UNDECODABLE, "NullValue"),
    "empty": (b"", deadletter.UNDECODABLE, "MalformedJson"),
    "truncated": (compact(SMALL)[:-1], deadletter.UNDECODABLE, "MalformedJson"),
    "trailing": (compact(SMALL) + b"{}", deadletter.UNDECODABLE, "MalformedJson"),
    "BOM": (b"\xef\xbb\xbf" + compact(SMALL), deadletter.UNDECODABLE, "MalformedJson"),
    "bad UTF-8": (compact(SMALL).replace(b"good", b"\xff"), deadletter.UNDECODABLE, "InvalidUtf8"),
    "bad UTF-8 in a field we do not know": (
        compact({**SMALL, "x": "good"}).replace(b'"x":"good"', b'"x":"\xc3\x28"'),
        deadletter.UNDECODABLE,
        "InvalidUtf8",
    ),
    "bad UTF-8 in a key we do not know": (
        compact({**SMALL, "key!": 1}).replace(b"key!", b"k\xff"),
        deadletter.UNDECODABLE,
        "InvalidUtf8",
    ),
    "lone surrogate in a field we do not know": (
        compact({**SMALL, "x": "?"}).replace(b'"?"', b'"\\ud800"'),
        deadletter.UNDECODABLE,
        "MalformedJson",
    ),
    "leading zero in a field we do not know": (
        compact({**SMALL, "x": 7}).replace(b'"x":7', b'"x":07'),
        deadletter.UNDECODABLE,
        "MalformedJson",
    ),
    "NaN": (compact({**SMALL, "data": {"score": float("nan")}}), deadletter.UNDECODABLE, "MalformedJson"),
    "infinite": (compact(SMALL).replace(b"0.5", b"1e999"), deadletter.UNDECODABLE, "MalformedJson"),
    "10^5 deep": (b"[" * 10**5 + b"]" * 10**5, deadletter.UNDECODABLE, "TooDeep"),
    "10^5 deep in a field we do not know": (
        compact({**SMALL, "x": 0}).replace(b'"x":0', b'"x":' + b'{"a":[' * 50_000 + b"]}" * 50_000),
        deadletter.UNDECODABLE,
        "TooDeep",
    ),
    "10^4 digits": (b"9" * 10**4, deadletter.UNDECODABLE, "NumberTooLong"),
    "10^4 digits in a known field": (
        compact(SMALL).replace(b"0.5", b"9" * 10**4),
        deadletter.UNDECODABLE,
        "NumberTooLong",
    ),
    "21 digits in a field we do not know": (
        compact({**SMALL, "x": [{"y": -(10**20)}]}),
        deadletter.UNDECODABLE,
        "NumberTooLong",
    ),
    "no object": (b"[]", deadletter.INVALID, "ValidationError"),
    "unknown type": (compact({**SMALL, "event_type": "x.y"}), deadletter.INVALID, "UnknownEventType"),
    "type of another kind": (compact({**SMALL, "event_type": 7}), deadletter.INVALID, "ValidationError"),
    "version of another kind": (compact({**SMALL, "schema_version": "1"}), deadletter.INVALID, "ValidationError"),
    "no data": (compact({**SMALL, "data": None}), deadletter.INVALID, "ValidationError"),
    "NUL in an id": (compact({**SMALL, "workflow_id": "a\x00b"}), deadletter.INVALID, "ValidationError"),
    "same key twice": (compact(SMALL)[:-1] + b',"event_id":"other"}', deadletter.INVALID, "DuplicateKey"),
    "same key twice, spaced": (
        compact(SMALL)[:-1] + b', "event_id" : "other"}',
        deadletter.INVALID,
        "DuplicateKey",
    ),
    "same key twice, once escaped": (
        compact(SMALL)[:-1] + b',"\\u0065vent_id":"other"}',
        deadletter.INVALID,
        "DuplicateKey",
    ),
    "same key twice where we do not look": (
        compact(SMALL)[:-1] + b',"x":{"y":[{"z":1,"z":2}]}}',
        deadletter.INVALID,
        "DuplicateKey",
    ),
    "same key twice, hidden by escaped quotes": (
        # two quotes lost with the key, two more when the string is written out: the count alone would not tell
        compact({**SMALL, "y": "?"}).replace(b'"?"', b'"\\u0022\\u0022"')[:-1] + b',"x":1,"x":2}',
        deadletter.INVALID,
        "DuplicateKey",
    ),
    "before year 1 in UTC": (
        compact({**SMALL, "occurred_at": "0001-01-01T00:00:00+00:01"}),
        deadletter.INVALID,
        "ValidationError",
    ),
    "after year 9999 in UTC": (
        compact({**SMALL, "occurred_at": "9999-12-31T23:59:59.9-00:01"}),
        deadletter.INVALID,
        "ValidationError",
    ),
    "no offset": (compact({**SMALL, "occurred_at": "2025-01-31T12:00:00"}), deadletter.INVALID, "ValidationError"),
    "a number for an instant": (compact({**SMALL, "occurred_at": 1738324800}), deadletter.INVALID, "ValidationError"),
}


@pytest.mark.parametrize("name", POISON)
def test_poison_is_refused_for_its_reason(name: str) -> None:
    raw, reason, error_class = POISON[name]
    found = refused(raw)
    assert (found.reason, found.error_class) == (reason, error_class)


def test_the_record_limit_is_exact() -> None:
    raw = compact(SMALL)
    assert refused(raw, max_record_bytes=len(raw) - 1).reason == deadletter.OVERSIZED
    assert isinstance(decode(raw, limits=Limits(max_record_bytes=len(raw))), Event)


def test_the_other_limits_are_exact() -> None:
    def nested(levels: int) -> bytes:  # the event itself is the first level
        return compact({**SMALL, "x": 0}).replace(b'"x":0', b'"x":' + b"[" * (levels - 1) + b"]" * (levels - 1))

    accepted(nested(64))
    assert refused(nested(65)).error_class == "TooDeep"
    accepted(compact({**SMALL, "x": [10**20 - 1] * 100}))
    accepted(compact({**SMALL, "x": "9" * 50, "y": 0.1234567890123456789012345678}))
    assert refused(compact({**SMALL, "x": 10**20})).error_class == "NumberTooLong"


def test_many_flat_objects_are_not_deep() -> None:
    documents = [{"document_id": f"d-{n}"} for n in range(200)]
    found = accepted(compact({**SMALL, "event_type": "retrieval.performed",
                              "data": {"index_name": "kb", "documents": documents}}))  # fmt: skip
    assert len(found.data.documents) == 200
