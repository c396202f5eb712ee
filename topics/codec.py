"""Bytes to events. `decode` never raises, whatever the bytes; what it refuses it explains without quoting it.

Two decoders, one definition (docs/decisions/002): msgspec accepts on the hot path, and only what it refuses, or what
the cheap look at the bytes leaves in doubt, is gone over exactly, by pydantic in the end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC

import msgspec
import orjson
from pydantic import ValidationError

from topics import deadletter
from topics.bounds import DEFAULT, Limits, long_number, may_break_bounds, skeleton, too_deep
from topics.envelope import Envelope
from topics.events import MODELS, encode, event, wire
from topics.fast import ANY_EVENT, FUTURE_EVENT, Event
from topics.fields import utc
from topics.registry import EVENT_TYPES
from topics.undecodable import Undecodable
from topics.upcast import upcast

__all__ = ["DEFAULT", "Event", "Limits", "Undecodable", "decode", "encode", "event", "read", "wire"]

Headers = Sequence[tuple[str, bytes | None]]


_decode_any = msgspec.json.Decoder(ANY_EVENT).decode
_canonical = msgspec.json.Encoder().encode
_KNOWN = {name: known.schema_version for name, known in EVENT_TYPES.items()}
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_MAX_DETAIL = 500


def decode(raw: bytes | None, *, limits: Limits = DEFAULT, headers: Headers = ()) -> Event | Undecodable:
    """The event in a record's value, or why there is none. Never raises.

    A known type with a schema_version above this release's comes back with `future` set and `data` None.
    `headers`: where the envelope has no trace context, a `traceparent` header (W3C) gives it.
    """
    found = read(raw, limits=limits, headers=headers)
    return found if isinstance(found, Undecodable) else found[0]


def read(raw: bytes | None, *, limits: Limits = DEFAULT, headers: Headers = ()) -> tuple[Event, bytes] | Undecodable:
    """As `decode`, with the event's canonical content beside it: the same bytes for the same meaning.

    Canonical: known fields in the models' order, null and empty left out, instants in UTC. Of a future event, whose
    fields we do not know, it is the whole JSON with its keys sorted.
    """
    if (unread := _unread(raw, limits)) is not None:
        return unread
    assert raw is not None
    try:
        found: Event = _decode_any(raw)
        sound = found.hexadecimal()
    except (msgspec.MsgspecError, ValueError, RecursionError):  # ValueError: bad UTF-8, or no hexadecimal digits
        sound = False
    if not sound:
        return _explained(raw, limits, headers)
    if found.occurred_at.tzinfo is not UTC:
        try:
            found = msgspec.structs.replace(found, occurred_at=utc(found.occurred_at))
        except ValueError:
            return _explained(raw, limits, headers)
    content, escaped = _canonical(found), b"\\" in raw
    if escaped and b"\\u0000" in raw:
        return _explained(raw, limits, headers)
    canonical = raw == content
    # Every field costs two quotes. Without escapes, as many quotes as the canonical form has means: no key twice, no
    # field we do not know (msgspec skips those without looking), so nothing is left to check.
    plain = not escaped and (canonical or raw.count(b'"') == content.count(b'"'))
    if not plain and (refused := _refused(raw, limits)) is not None:
        return refused
    if canonical:
        content = raw  # one copy less to be kept
    return _traced(found, content, headers) if headers else (found, content)


def document(raw: bytes | None, *, limits: Limits = DEFAULT) -> object | Undecodable:
    """The JSON in a record's value, whatever it means, or why there is none within the bounds. Never raises."""
    if (refused := _unread(raw, limits)) is not None:
        return refused
    assert raw is not None
    return _refused(raw, limits) or orjson.loads(raw)


def _unread(raw: bytes | None, limits: Limits) -> Undecodable | None:
    """What need not be looked into."""
    if raw is None:
        return Undecodable(deadletter.UNDECODABLE, "NullValue", "the record has no value")
    if len(raw) > limits.max_record_bytes:
        return Undecodable(deadletter.OVERSIZED, "RecordTooLarge", f"more than {limits.max_record_bytes} bytes")
    return None


def _refused(raw: bytes, limits: Limits) -> Undecodable | None:
    """The exact check of the bytes, whatever they should mean: bounds first, then JSON, then keys."""
    if may_break_bounds(raw, limits):
        bones = skeleton(raw)
        if too_deep(bones, limits.max_depth):
            detail = f"nested deeper than {limits.max_depth}, or unbalanced"
            return Undecodable(deadletter.UNDECODABLE, "TooDeep", detail)
        if long_number(bones, limits.max_integer_digits):
            detail = f"a number of more than {limits.max_integer_digits} digits"
            return Undecodable(deadletter.UNDECODABLE, "NumberTooLong", detail)
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as malformed:  # its message is a rule and a position; the document stays out of it
        try:
            raw.decode()
        except UnicodeDecodeError as bad:
            return Undecodable(deadletter.UNDECODABLE, "InvalidUtf8", f"not UTF-8 at byte {bad.start}")
        return Undecodable(deadletter.UNDECODABLE, "MalformedJson", f"not JSON (RFC 8259) at character {malformed.pos}")
    if _has_duplicate_keys(raw, value):
        return Undecodable(deadletter.INVALID, "DuplicateKey", "an object has the same key twice")
    return None


def _has_duplicate_keys(raw: bytes, value: object) -> bool:
    if b"\\u0022" not in raw:  # then a key that got lost took its quotes with it
        return raw.count(b'"') != orjson.dumps(value).count(b'"')

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(found := dict(pairs)) != len(pairs):
            raise _Twice
        return found

    try:
        json.loads(raw, object_pairs_hook=unique)
    except _Twice:
        return True
    return False


class _Twice(Exception):
    """A key seen twice, on its way out of the JSON parser."""


class _Kind(msgspec.Struct):
    """What decides which model an event is held to."""

    event_type: str | None = None
    schema_version: int | None = None


def _explained(raw: bytes, limits: Limits, headers: Headers) -> tuple[Event, bytes] | Undecodable:
    """The exact verdict on bytes the hot path did not take; pydantic has the last word and the words."""
    if (refused := _refused(raw, limits)) is not None:
        return refused
    try:
        kind = msgspec.json.decode(raw, type=_Kind)
    except msgspec.ValidationError:
        kind = _Kind()  # not even these two are what they should be: the envelope's model says why
    known = EVENT_TYPES.get(kind.event_type) if kind.event_type is not None else None
    if known is None and kind.event_type is not None:
        return Undecodable(deadletter.INVALID, "UnknownEventType", "event_type: nobody registered this type")
    version = kind.schema_version
    if known is not None and version is not None and 1 <= version < known.schema_version:
        made = upcast(raw, known, version)
        if isinstance(made, Undecodable):
            return made
        raw = made
    future = known is not None and version is not None and version > known.schema_version
    model = Envelope if future or known is None else MODELS[known.name]
    try:
        accepted = model.model_validate_json(raw)
        if future:
            found = msgspec.convert(accepted.model_dump(), FUTURE_EVENT)
            return _traced(found, orjson.dumps(orjson.loads(raw), option=orjson.OPT_SORT_KEYS), headers)
        found = _decode_any(wire(accepted))
    except ValidationError as errors:
        return Undecodable(deadletter.INVALID, "ValidationError", _detail(errors))
    except msgspec.ValidationError:  # a property says that this does not happen; if it does, it is no event
        return Undecodable(deadletter.INVALID, "ValidationError", "the event breaks a rule of its type")
    return _traced(found, _canonical(found), headers)


def _detail(errors: ValidationError) -> str:
    said = [
        f"{'.'.join(map(str, error['loc'])) or 'event'}: {error['msg']}"
        for error in errors.errors(include_url=False, include_context=False, include_input=False)
    ]
    more = f" (and {len(said) - 5} more)" if len(said) > 5 else ""
    return "; ".join(said[:5])[:_MAX_DETAIL] + more


def _traced(found: Event, content: bytes, headers: Headers) -> tuple[Event, bytes]:
    """The event with the trace context of its `traceparent` header, where it has none of its own.

    It becomes part of the content: what the event says must not depend on which of its copies came first.
    """
    if found.trace_id is not None:
        return found, content
    for name, value in headers:
        if name == "traceparent" and value is not None and (match := _TRACEPARENT.fullmatch(value)) is not None:
            trace, span = match.group(1), match.group(2)
            if not trace.strip(b"0") or not span.strip(b"0"):
                break  # all zeroes: W3C's way of saying "none"
            traced = msgspec.structs.replace(found, trace_id=trace.decode(), span_id=span.decode())
            return traced, content + match.group() if found.future else _canonical(traced)
    return found, content
