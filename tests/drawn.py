"""Events drawn by hypothesis from the pydantic models themselves, and rows in memory to fold them into."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le, MaxLen, MinLen
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from topics.classification import classification_of
from topics.events import MODELS

INSTANT = "2025-01-31T12:00:00.000123Z"


@cache
def valid(model: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    """JSON-like dicts the model accepts."""
    required, optional = {}, {}
    for name, info in model.model_fields.items():
        kind = required if info.is_required() else optional
        kind[name] = _value(info.annotation, info.metadata)
    return st.fixed_dictionaries(required, optional=optional)


def events() -> st.SearchStrategy[dict[str, Any]]:
    """Whole events of any type."""
    return st.one_of(*(valid(model) for model in MODELS.values()))


def _value(annotation: Any, metadata: Sequence[Any] = ()) -> st.SearchStrategy[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *rules = get_args(annotation)
        return _value(inner, [*rules, *metadata])
    if origin in (Union, UnionType):
        return st.one_of(*(_value(arm) for arm in get_args(annotation)))
    bounds = _bounds(metadata)
    if origin is tuple:
        return st.lists(_value(get_args(annotation)[0]), max_size=3)
    if origin is Literal:
        return st.sampled_from(get_args(annotation))
    if annotation is NoneType:
        return st.none()
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        return st.integers(bounds.get("ge"), bounds.get("le"))
    if annotation is float:
        return st.floats(bounds.get("ge"), bounds.get("le"), allow_nan=False) | st.integers(-5, 5)
    if annotation is datetime:
        zones = st.sampled_from(["Z", "+00:00", "-05:30", "+14:00"])
        moments = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29))
        return st.builds(lambda moment, zone: moment.isoformat() + zone, moments, zones)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return valid(annotation)
    assert annotation is str, annotation
    shortest, longest = bounds.get("min", 0), bounds["max"]
    if "[0-9a-f]" in bounds.get("pattern", ""):
        return st.text("0123456789abcdef", min_size=longest, max_size=longest)
    letters = st.characters(exclude_characters="\x00", exclude_categories=["Cs"])
    return st.text(letters, min_size=shortest, max_size=min(longest, 12)) | st.just("é" * longest)


def _bounds(metadata: Sequence[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for rule in metadata:
        match rule:
            case FieldInfo():
                found |= _bounds(rule.metadata)
            case MinLen():
                found["min"] = rule.min_length
            case MaxLen():
                found["max"] = rule.max_length
            case Ge():
                found["ge"] = rule.ge
            case Le():
                found["le"] = rule.le
            case _ if getattr(rule, "pattern", None):
                found["pattern"] = rule.pattern
    return found


def full(model: type[BaseModel], canary: str, *, hidden: bool = False) -> dict[str, Any]:
    """Every field filled; what must not be projected holds `canary`, and so does all that lies in it."""
    return {
        name: _filled(info.annotation, info.metadata, canary, hidden or not _level(model, name).projected, INSTANT)
        for name, info in model.model_fields.items()
    }


def _level(model: type[BaseModel], name: str) -> Any:
    level = classification_of(model.model_fields[name])
    assert level is not None, f"{model.__name__}.{name} has no classification"
    return level


def _filled(annotation: Any, metadata: Sequence[Any], canary: str, hidden: bool, instant: str) -> Any:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *rules = get_args(annotation)
        return _filled(inner, [*rules, *metadata], canary, hidden, instant)
    if origin in (Union, UnionType):
        return _filled(get_args(annotation)[0], (), canary, hidden, instant)
    if origin is tuple:
        return [_filled(get_args(annotation)[0], (), canary, hidden, instant)]
    if origin is Literal:
        return get_args(annotation)[0]
    if annotation in (int, float, bool):
        return 1 if annotation is not bool else True
    if annotation is datetime:
        return instant
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return full(annotation, canary, hidden=hidden)
    bounds = _bounds(metadata)
    if "[0-9a-f]" in bounds.get("pattern", ""):
        return "a" * int(bounds["max"])
    return canary if hidden else "shown"


def edges(model: type[BaseModel]) -> Iterator[tuple[tuple[str | int, ...], list[Any], list[Any]]]:
    """For every leaf of the model: its path, values just within its rules, and values just beyond them."""
    for name, info in model.model_fields.items():
        yield from _edges((name,), info.annotation, info.metadata, ())


def _edges(
    path: tuple[str | int, ...], annotation: Any, metadata: Sequence[Any], optional: tuple[None, ...]
) -> Iterator[tuple[tuple[str | int, ...], list[Any], list[Any]]]:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *rules = get_args(annotation)
        yield from _edges(path, inner, [*rules, *metadata], optional)
        return
    if origin in (Union, UnionType):
        yield from _edges(path, get_args(annotation)[0], metadata, (None,))
        return
    beyond: list[Any] = [{}, *(() if optional else (None,))]
    bounds = _bounds(metadata)
    if origin is tuple:
        element = get_args(annotation)[0]
        made = _filled(element, (), "x", False, INSTANT)
        yield path, [[], [made] * bounds["max"]], [[made] * (bounds["max"] + 1), {}, None, "x"]
        yield from _edges((*path, 0), element, (), ())
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        needy = any(info.is_required() for info in annotation.model_fields.values())
        yield path, [*optional], [[], "x", 1, *(beyond if needy else beyond[1:])]
        for inner_path, within, outside in edges(annotation):
            yield (*path, *inner_path), within, outside
    elif origin is Literal:
        yield path, [*get_args(annotation), *optional], ["", "x", 1, [], *beyond]
    elif annotation is bool:
        yield path, [True, False, *optional], [0, 1, "true", *beyond]
    elif annotation in (int, float):
        within, outside = [bounds["ge"], bounds["le"]], [bounds["ge"] - 1, bounds["le"] * 1.001, "1", True]
        yield path, [*within, *optional], [*outside, *([1.0, 1.5] if annotation is int else []), *beyond]
    elif annotation is datetime:
        yield path, [INSTANT], ["", INSTANT[:-1], INSTANT[:10], 1_738_324_800, *beyond]
    elif "[0-9a-f]" in bounds.get("pattern", ""):
        good = "0f" * (bounds["max"] // 2)
        yield path, [good, *optional], [good + "0", good[1:], good.upper(), good[1:] + "g", good[1:] + "\n", 1, *beyond]
    else:
        longest = ["x" * bounds["max"], "\U0001f600" * bounds["max"]]
        too_long = ["x" * (bounds["max"] + 1), "\U0001f600" * (bounds["max"] + 1)]
        empty = [""] if bounds.get("min") else []
        nul = ["a\x00b", "\x00"] if "pattern" in bounds else []
        yield path, [*longest, *optional], [*too_long, *empty, *nul, 1, True, [], *beyond]


@dataclass(frozen=True, slots=True)
class Log:
    """One record of a source log."""

    topic: str
    offset: int
    value: bytes | None
    partition: int = 0
    timestamp: int = 1_738_324_800_000
    key: bytes | None = b"w"
    headers: Sequence[tuple[str, bytes]] = ()


class MemoryRows(dict[bytes, bytes]):
    """Rows in a dict: what the engine's RocksDB is to a fold."""

    def write(self, rows: Sequence[tuple[bytes, bytes | None]]) -> None:
        for key, value in rows:
            if value is None:
                self.pop(key, None)
            else:
                self[key] = value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    def scan(self, prefix: bytes, start: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        keys = sorted(self)
        for key in keys[bisect_left(keys, max(prefix, start or b"")) :]:
            if not key.startswith(prefix):
                return
            yield key, self[key]


def now() -> datetime:
    """A fixed instant: nothing under test may read a clock."""
    return datetime(2025, 1, 31, 12, tzinfo=UTC)
