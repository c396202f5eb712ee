"""What may be asked: the parameters of an operation as a model, from which requests are read and OpenAPI is made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote, unquote_to_bytes

from multidict import MultiMapping
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ValidationInfo
from yarl import URL

from replayer.core.lookup import Stretch
from replayer.serve.problems import Problem, bad_query
from topics.fields import Id, Instant, micros

MAX_LIMIT = 1000
_SHOWN_CHARS = 64


def _count(text: object) -> object:
    # int() also takes "+5", "1_0", " 7 " and the digits of every script; a caller who writes those has a bug.
    if isinstance(text, str):
        if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
            raise PydanticCustomError("count", "not a whole number")
        return int(text)
    return text


Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT, description="at most so many items"), BeforeValidator(_count)]
Cursor = Annotated[str, Field(min_length=1, max_length=4096, description="`next_cursor` of the page before")]
Tenant = Annotated[Id, Field(description="the workflow's tenant; needed unless the server has a default tenant")]


class Query(BaseModel):
    """No parameters. Unknown ones are refused: a misspelt filter must not become a wider answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def asked(self) -> dict[str, Any]:
        """The parameters that were given, as JSON: what a cursor is bound to."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Ranged(Query):
    """A half-open range of time: from <= t < to."""

    from_: Annotated[Instant | None, Field(alias="from", description="RFC 3339, inclusive")] = None
    to: Annotated[Instant | None, Field(description="RFC 3339, exclusive")] = None

    @field_validator("to")
    @classmethod
    def _later(cls, to: Instant | None, info: ValidationInfo) -> Instant | None:
        start = info.data.get("from_")
        if to is not None and start is not None and to <= start:
            raise PydanticCustomError("range", "must be later than `from`")
        return to

    @property
    def from_us(self) -> int | None:
        """Microseconds since the epoch."""
        return None if self.from_ is None else micros(self.from_)

    @property
    def to_us(self) -> int | None:
        """Microseconds since the epoch."""
        return None if self.to is None else micros(self.to)


class OfATime(Ranged):
    """A page of what happened in a range of time, in one tenant or all."""

    tenant: Annotated[Id | None, Field(description="of one tenant only")] = None
    limit: Limit = 100
    cursor: Cursor | None = None

    @property
    def stretch(self) -> Stretch:
        return Stretch(self.from_us, self.to_us, self.tenant)


Q = TypeVar("Q", bound=Query)


def check_encoding(path: str, url: URL) -> None:
    """Raises a 400 naming the id of `path` (the operation's), or the parameter, that is not UTF-8 once unquoted.

    What decodes it later does so leniently: it would look for a name that nobody wrote, and find nothing or another.
    """
    ids = zip((step.strip("{}") for step in path.split("/")), url.raw_path.split("/"), strict=True)
    parameters = ((pair.partition("=")[0], pair) for pair in url.raw_query_string.split("&"))
    for name, written in (*ids, *parameters):
        try:
            unquote_to_bytes(written).decode()
        except UnicodeError:
            raise bad_query(_shown(unquote(name)), "Not UTF-8 once its percent-encoding is undone.") from None


def read(model: type[Q], given: MultiMapping[str]) -> Q:
    """The request's parameters; raises a 400 naming the first one at fault. No value is repeated in it."""
    for name in given:
        if len(given.getall(name)) > 1:
            raise bad_query(_shown(name), "Given more than once.")
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False, include_input=False, include_context=False)[0]) from None


def read_path(types: Mapping[str, TypeAdapter[str]], given: Mapping[str, str]) -> dict[str, str]:
    """The ids in the path; raises a 400 naming the one that no workflow, decision or replay can have."""
    ids = {}
    for name, kind in types.items():
        try:
            ids[name] = kind.validate_python(given[name])
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            raise bad_query(name, _sentence(first)) from None
    return ids


def _refusal(error: ErrorDetails) -> Problem:
    name = str(error["loc"][0]) if error["loc"] else "query"
    if error["type"] == "extra_forbidden":
        return bad_query(_shown(name), "There is no such parameter here; /openapi.json lists those there are.")
    return bad_query(name, _sentence(error))


def _sentence(error: ErrorDetails) -> str:
    said = error["msg"].removeprefix("Value error, ")
    return f"{said[:1].upper()}{said[1:]}."


def _shown(name: str) -> str:
    """A caller's own name for a parameter, fit to be printed."""
    cut = name if len(name) <= _SHOWN_CHARS else name[:_SHOWN_CHARS] + "…"
    return cut.encode("utf-8", "backslashreplace").decode()
