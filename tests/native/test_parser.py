"""What the native parser takes, it takes as the codec does: the same content, the same projection, or nothing."""

from __future__ import annotations

import copy
from functools import cache
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replayer.native.library import Library
from tests.drawn import edges, events, full
from tests.native.spelling import model_of, mutated, respelled, whole_events
from topics.bounds import Limits
from topics.codec import Undecodable, read
from topics.events import MODELS
from topics.projection import projected

LIMIT = 1 << 20


@cache
def library() -> Library:
    return Library(LIMIT)


def codec(raw: bytes) -> tuple[bytes, bytes] | None:
    """Content and projection as Python has them; None for what it refuses, and for what is of a future version."""
    found = read(raw, limits=Limits(max_record_bytes=LIMIT))
    if isinstance(found, Undecodable) or found[0].future:
        return None
    return found[1], projected(*found)


def agrees(raw: bytes) -> bool:
    """Whether the native parser took it; fails where it took it for something else."""
    taken = library().read(raw)
    if taken is not None:
        assert taken == codec(raw), raw
    return taken is not None


@given(events(), st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=400)
def test_any_event_in_any_spelling(document: dict[str, Any], rng: Random, ascii_only: bool) -> None:
    agrees(orjson.dumps(document))
    agrees(respelled(document, model_of(document), rng, ascii_only=ascii_only))


@given(whole_events(), st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_ordinary_events_are_taken_in_any_spelling(document: dict[str, Any], rng: Random) -> None:
    raw = respelled(document, model_of(document), rng)
    assert agrees(raw)
    content, projection = library().read(raw) or (b"", b"")
    assert agrees(content)
    assert b"hidden words" in content
    assert b"hidden words" not in projection


@given(events() | whole_events(), st.data())
@settings(max_examples=600)
def test_mutated_bytes_are_taken_as_the_codec_takes_them(document: dict[str, Any], data: st.DataObject) -> None:
    agrees(data.draw(mutated(orjson.dumps(document))))


@given(
    st.floats(-1e12, 1e12), st.integers(-(10**16), 10**16), st.sampled_from(["{}", "{}0", "{}e1", "0{}", "{}.", "-{}"])
)
@settings(max_examples=500)
def test_numbers_are_written_as_the_codec_writes_them(real: float, whole: int, spelling: str) -> None:
    for number in (repr(real), str(whole), f"{real:.3f}", f"{real:.17g}", f"{whole / 1000}", f"{whole / 10**16}"):
        for told in (number, spelling.format(number)):
            agrees(EVENT.replace(b'"NUMBER"', told.encode()))
            agrees(
                EVENT.replace(b'"schema_version":1', b'"schema_version":' + told.encode()).replace(b'"NUMBER"', b"1")
            )
    short = f"{round(real, 3)}"
    if "e" not in short and short != "-0.0" and abs(float(short)) >= 1e-4:
        assert agrees(EVENT.replace(b'"NUMBER"', short.encode()))


@given(st.datetimes(), st.sampled_from(["Z", "+00:00", "z", "+01:00", "-00:00", ""]), st.integers(0, 9), st.data())
@settings(max_examples=300)
def test_instants_are_read_as_the_codec_reads_them(moment: Any, zone: str, digits: int, data: st.DataObject) -> None:
    fraction = f"{moment.microsecond:06}000"[:digits]
    told = f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + (f".{fraction}" if digits else "") + zone
    taken = agrees(EVENT.replace(b"2025-01-31T12:00:00Z", told.encode()).replace(b'"NUMBER"', b"1"))
    assert taken == (zone in ("Z", "+00:00") and digits <= 6)
    agrees(EVENT.replace(b"2025-01-31T12:00:00Z", data.draw(mutated(told.encode()))).replace(b'"NUMBER"', b"1"))


EVENT = orjson.dumps(
    {
        "event_type": "feedback.received", "event_id": "e", "schema_version": 1, "workflow_id": "w",
        "occurred_at": "2025-01-31T12:00:00Z", "tenant_id": "t", "source": "s", "agent_id": "a",
        "data": {"score": "NUMBER"},
    }
)  # fmt: skip


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_field_at_its_bound_and_beyond(name: str) -> None:
    model = MODELS[name]
    base = full(model, "x") | {"event_type": name}
    taken = within_count = 0
    for path, within, beyond in edges(model):
        for value in within:
            within_count += 1
            taken += agrees(orjson.dumps(_with(base, path, value)))
        for value in beyond:
            agrees(orjson.dumps(_with(base, path, value)))
    assert taken > 0.9 * within_count


def _with(document: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    at: Any = changed
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return changed


def test_what_must_be_left_to_python_is() -> None:
    raw = orjson.dumps(full(MODELS["feedback.received"], "x") | {"event_type": "feedback.received"})
    assert agrees(raw)
    for odd in (
        raw.replace(b'"event_id":', b'"event_id":"first","event_id":'),  # a key twice
        raw.replace(b'"event_id":', b'"unknown":1,"event_id":'),
        raw.replace(b'"event_id":', b'"event\\u005fid":'),
        raw.replace(b'"schema_version":1', b'"schema_version":2'),
        raw.replace(b'"feedback.received"', b'"feedback.unheard_of"'),
        raw.replace(b'"shown"', b'"sh\\u006fwn"', 1),
        raw + b"x",
        raw[:-1],
        b"",
        b"{}",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        raw + b" " * LIMIT,
    ):
        assert odd != raw
        assert library().read(odd) is None, odd[:200]


def test_texts_with_the_usual_escapes_are_taken() -> None:
    document = full(MODELS["feedback.received"], 'a "quoted" \\ line\nand\ttabs \b\f\r é \U0001f600') | {
        "event_type": "feedback.received"
    }
    raw = orjson.dumps(document)
    assert b"\\n" in raw
    assert agrees(raw)


def test_every_byte_in_a_text() -> None:
    for byte in range(256):
        told = agrees(EVENT.replace(b'"NUMBER"', b"1").replace(b'"s"', b'"in a ' + bytes([byte]) + b' text"'))
        assert told == (0x20 <= byte < 0x80 and byte not in b'"\\'), byte
        agrees(EVENT.replace(b'"NUMBER"', b"1").replace(b'"s"', b'"in a \\' + bytes([byte]) + b' text"'))


def test_instants_at_their_bounds() -> None:
    days = [f"{year}-02-{day}" for year in (1900, 2000, 2023, 2024, 2100) for day in (28, 29)]
    days += [f"2025-{month:02}-{day:02}" for month in range(14) for day in (0, 1, 30, 31, 32)]
    days += ["0000-12-31", "0001-01-01", "9999-12-31"]
    hours = [f"{hour}:{minute}:{second}" for hour in (23, 24) for minute in (59, 60) for second in (59, 60)]
    for told in [*(f"{day}T00:00:00Z" for day in days), *(f"2025-01-31T{hour}Z" for hour in hours)]:
        raw = EVENT.replace(b"2025-01-31T12:00:00Z", told.encode()).replace(b'"NUMBER"', b"1")
        assert agrees(raw) == (codec(raw) is not None), told


def test_an_escape_is_one_character_of_a_texts_length() -> None:
    for length in (1, 199, 200, 201):
        for text in ("\n" * length, "é\\" * (length // 2), '"' * (length - 1) + "\U0001f600"):
            raw = orjson.dumps(orjson.loads(EVENT) | {"source": text, "data": {}})
            assert agrees(raw) == (codec(raw) is not None)
