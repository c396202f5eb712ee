"""The bounded types fields are made of, and the strict base all models share.

Lengths are in characters (Unicode code points). NUL is forbidden wherever a value may become part of a row key.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from topics.classification import INTERNAL, PUBLIC

# Rust's regex (pydantic) and Python's (msgspec) agree on these: no `$` before a newline can slip through,
# because the lengths are bounded as well.
NO_NUL = r"^[^\x00]*$"
MAX_COUNT = 2**53 - 1  # the largest integer every JSON reader keeps exact

HEX_PATTERNS: set[str] = set()
"""What the hexadecimal types below are held to; the hot path asks `topics.glance` instead."""


def _digits(count: int) -> str:
    pattern = f"^[0-9a-f]{{{count}}}$"
    HEX_PATTERNS.add(pattern)
    return pattern


Id = Annotated[str, Field(min_length=1, max_length=128, pattern=NO_NUL)]
WorkflowId = Annotated[str, Field(min_length=1, max_length=256, pattern=NO_NUL)]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=NO_NUL)]
Code = Annotated[str, Field(min_length=1, max_length=100, pattern=NO_NUL)]
Uri = Annotated[str, Field(min_length=1, max_length=2048)]
Text = Annotated[str, Field(max_length=16_384)]
Sha256 = Annotated[str, Field(min_length=64, max_length=64, pattern=_digits(64))]
TraceId = Annotated[str, Field(min_length=32, max_length=32, pattern=_digits(32))]
SpanId = Annotated[str, Field(min_length=16, max_length=16, pattern=_digits(16))]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Millis = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Version = Annotated[int, Field(ge=1, le=1_000_000)]
Attempt = Annotated[int, Field(ge=1, le=1_000_000)]
Score = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)]
LatencyBand = Literal["fast", "normal", "slow", "timeout"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_WIRE_INSTANT = Annotated[datetime, msgspec.Meta(tz=True)]


def micros(instant: datetime) -> int:
    """Microseconds since 1970-01-01T00:00:00Z (negative before), exact for every aware datetime."""
    return (instant - EPOCH) // _MICROSECOND


def utc(instant: datetime) -> datetime:
    """The same instant in UTC; ValueError where UTC's year would fall outside 1..9999."""
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("the instant lies outside the years 1 to 9999 in UTC") from None


def rfc3339(us: int) -> str:
    """`2025-01-31T12:00:00.000123Z`: always UTC, always six digits."""
    return (EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def _instant(value: object) -> datetime:
    if isinstance(value, str):
        try:  # the same parser as the hot path, so that the two cannot disagree
            value = msgspec.convert(value, type=_WIRE_INSTANT)
        except msgspec.ValidationError as refused:
            raise ValueError("not an RFC 3339 date-time with an offset") from refused
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError("not an RFC 3339 date-time with an offset")
    return utc(value)


Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    PlainSerializer(lambda instant: rfc3339(micros(instant)), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""An instant: RFC 3339 with an offset on the wire, an aware datetime in UTC here, microseconds kept, finer rounded."""


class Model(BaseModel):
    """Strict (no number is taken for a string), immutable, and tolerant of fields it does not know."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class ArtifactRef(Model):
    """Where large or sensitive bytes live, and how to know that they are the right ones. The log holds no more."""

    uri: Annotated[Uri, INTERNAL]
    sha256: Annotated[Sha256, INTERNAL]
    media_type: Annotated[Name, INTERNAL]
    size_bytes: Annotated[Count, INTERNAL]
    classification: Annotated[Literal["public", "internal", "confidential", "restricted"], PUBLIC]
    key_id: Annotated[Id | None, INTERNAL] = None


class PromptTemplate(Model):
    """Which prompt, in which version; the hash is over the template's text."""

    template_id: Annotated[Id, INTERNAL]
    version: Annotated[Code, INTERNAL]
    sha256: Annotated[Sha256 | None, INTERNAL] = None
