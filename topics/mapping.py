"""JSON that others already produce, made into events by declared rules: for each field a JMESPath expression.

An expression sees the record's value. Functions of ours tell the rest of the record: `key()`, `header('name')`,
`position()` (topic/partition/offset), `timestamp()`; and make instants of numbers: `from_s(n)`, `from_ms(n)`.
Constants are JMESPath's own: `'tool.call_completed'` is text, `` `3` `` a number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import jmespath
import orjson
from jmespath import functions
from jmespath.exceptions import JMESPathError
from pydantic import BaseModel

from topics.envelope import Envelope
from topics.fields import EPOCH
from topics.registry import EVENT_TYPES

#: What every event must say. `schema_version` is that of this release where no rule gives it.
REQUIRED = tuple(name for name, field in Envelope.model_fields.items() if field.is_required())
_DEFAULTED = "schema_version"
_DATA = "data"
_MAX_RULES = 100


class BadRule(ValueError):
    """A rule that cannot work; the text says which, and why."""


@dataclass(frozen=True, slots=True)
class Unmapped:
    """No event came of it. `rule` is the one that stood in the way: a field's name, or `when`."""

    rule: str
    error_class: str
    why: str


@dataclass(frozen=True, slots=True)
class Foreign:
    """What an expression may see of a record beside its value."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Rules:
    """The rules of one kind of record. Compiled once; pure."""

    def __init__(self, fields: Mapping[str, str], when: str | None = None) -> None:
        """`fields`: of the event, `data.` before those of its data, to the expressions. Raises BadRule."""
        if len(fields) > _MAX_RULES:
            raise BadRule(f"more than {_MAX_RULES} rules")
        self._when = None if when is None else _compiled("when", when)
        self._rules = [(name, tuple(name.split(".")), _compiled(name, said)) for name, said in fields.items()]
        for name in REQUIRED:
            if name not in fields and name != _DEFAULTED:
                raise BadRule(f"{name}: every event says it, so there must be a rule for it")
        _check(fields)

    def concern(self, record: Foreign, value: object) -> bool | Unmapped:
        """Whether these are the rules for such a record: `when` holds, as JMESPath counts truth, or there is none."""
        if self._when is None:
            return True
        found = _searched(self._when, "when", record, value)
        return found if isinstance(found, Unmapped) else _true(found)

    def apply(self, record: Foreign, value: object) -> bytes | Unmapped:
        """The event's JSON, not yet held to its type: fields whose rule finds nothing are left out."""
        event: dict[str, Any] = {}
        for name, path, rule in self._rules:
            found = _searched(rule, name, record, value)
            if isinstance(found, Unmapped):
                return found
            if found is not None:
                _put(event, path, found)
        for name in REQUIRED:
            if name not in event and name != _DEFAULTED:
                return Unmapped(name, "NothingMatched", "every event says it, and the rule found nothing")
        known = EVENT_TYPES.get(event["event_type"]) if isinstance(event["event_type"], str) else None
        if known is not None:
            event.setdefault(_DEFAULTED, known.schema_version)
        event.setdefault(_DATA, {})
        return _dumped(event)


def _compiled(name: str, said: str) -> Any:
    try:
        return jmespath.compile(said)
    except JMESPathError as exc:
        raise BadRule(f"{name}: {said!r} is not JMESPath ({type(exc).__name__}): see jmespath.org") from exc


def _searched(rule: Any, name: str, record: Foreign, value: object) -> Any:
    try:
        return rule.search(value, jmespath.Options(custom_functions=_Functions(record)))
    except Exception as exc:  # noqa: BLE001 - a rule is a program of somebody's: what it raises is why there is no event
        # Its text may quote the value: only its class is told.
        return Unmapped(name, type(exc).__name__, "the rule does not fit what it found")


def _dumped(event: dict[str, Any]) -> bytes | Unmapped:
    """The event's JSON; a rule may find what JSON has no form for: numbers beyond 64 bits, halves of characters."""
    try:
        return orjson.dumps(event)
    except orjson.JSONEncodeError:
        for name, found in _leaves(event):
            try:
                orjson.dumps(found)
            except orjson.JSONEncodeError as exc:
                return Unmapped(name, type(exc).__name__, "what the rule found cannot be written as JSON")
        raise


def _leaves(event: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, found in event.items():
        if name == _DATA and isinstance(found, dict):
            yield from ((f"{_DATA}.{inner}", value) for inner, value in found.items())
        else:
            yield name, found


def _true(found: object) -> bool:
    """JMESPath's own truth: false, null, and what is empty are not true; 0 is."""
    return found is not None and found is not False and found not in ("", [], {})


def _put(event: dict[str, Any], path: Sequence[str], found: object) -> None:
    *above, last = path
    for name in above:
        event = event.setdefault(name, {})
    event[last] = found


class _Functions(functions.Functions):
    """JMESPath's functions, and ours."""

    def __init__(self, record: Foreign) -> None:
        self._record = record

    @functions.signature()
    def _func_key(self) -> str | None:
        return _text(self._record.key)

    @functions.signature({"types": ["string"]})
    def _func_header(self, name: str) -> str | None:
        """The first of that name."""
        return next((_text(value) for known, value in self._record.headers if known == name), None)

    @functions.signature()
    def _func_position(self) -> str:
        return f"{self._record.topic}/{self._record.partition}/{self._record.offset}"

    @functions.signature()
    def _func_timestamp(self) -> str:
        return _instant(self._record.timestamp_ms * 1000)

    @functions.signature({"types": ["number"]})
    def _func_from_s(self, seconds: float) -> str:
        return _instant(_micros(seconds, 1_000_000))

    @functions.signature({"types": ["number"]})
    def _func_from_ms(self, millis: float) -> str:
        return _instant(_micros(millis, 1000))


def _text(raw: bytes | None) -> str | None:
    """Raises UnicodeDecodeError, a ValueError."""
    return None if raw is None else raw.decode()


def _micros(number: float, scale: int) -> int:
    """Raises ValueError, OverflowError."""
    return number * scale if isinstance(number, int) else math.floor(number * scale)


def _instant(micros: int) -> str:
    """RFC 3339 in UTC. Raises OverflowError outside of the years 1 to 9999."""
    return (EPOCH + timedelta(microseconds=micros)).isoformat().replace("+00:00", "Z")


# -- rules that cannot work are refused when they are declared


def _check(fields: Mapping[str, str]) -> None:
    constant = _constant(fields["event_type"])
    if constant is not None and constant not in EVENT_TYPES:
        raise BadRule(f"event_type: nobody registered {constant!r}; known are {', '.join(sorted(EVENT_TYPES))}")
    known = None if constant is None else EVENT_TYPES[constant].data
    for name in fields:
        head, *below = name.split(".")
        if head == _DATA and below:
            if known is not None:
                _check_path(known, below, name)
        elif below or head not in Envelope.model_fields:
            raise BadRule(
                f"{name}: no field of an event; `replayer schemas` lists them, and those of data begin `data.`"
            )
    _check_nesting(fields)
    if known is not None:
        for name, field in known.model_fields.items():
            if field.is_required() and not any(told.split(".")[:2] == [_DATA, name] for told in fields):
                raise BadRule(f"data.{name}: {constant} says it, so there must be a rule for it")


def _check_nesting(fields: Mapping[str, str]) -> None:
    for name in fields:
        above = next((told for told in fields if name.startswith(f"{told}.")), None)
        if above is not None:
            raise BadRule(f"{name}: {above} has a rule as well, and says all of it")


def _constant(said: str) -> str | None:
    """The text of an expression that is nothing but a text."""
    parsed = _compiled("event_type", said).parsed
    return parsed["value"] if parsed["type"] == "literal" and isinstance(parsed["value"], str) else None


def _check_path(model: type[BaseModel], path: Sequence[str], name: str) -> None:
    head, *below = path
    field = model.model_fields.get(head)
    if field is None:
        raise BadRule(f"{name}: {model.__name__} has no such field; known are {', '.join(model.model_fields)}")
    if below:
        inner = _model_in(field.annotation)
        if inner is None:
            raise BadRule(f"{name}: {head} has no fields of its own")
        _check_path(inner, below, name)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model a field holds, if it may hold one by itself."""
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, BaseModel) else None
    if get_origin(annotation) is Annotated:
        return _model_in(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return next(filter(None, map(_model_in, get_args(annotation))), None)
    return None
