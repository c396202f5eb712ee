"""What the native parser is told of the events: the fields of every type, their rules and what they hide, as data.

Derived from the pydantic models and the Structs that are derived from them (`topics.fast`); src/schema.rs reads it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import inspect
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from topics import glance
from topics.events import MODELS
from topics.fast import EVENTS
from topics.projection import hidden_fields

_TAG = "event_type"
_LEAST, _MOST = -(2**63), 2**63 - 1
_REQUIRED, _NULL, _EMPTY_LIST = range(3)
_TEXT, _INTEGER, _FLOAT, _BOOLEAN, _INSTANT, _LITERAL, _OBJECT, _LIST = range(8)


def description(max_record_bytes: int) -> bytes:
    """MessagePack: [max_record_bytes, name of the tag, [[event type, fields], ...]].

    A field is [name, what its absence means, whether null is allowed, whether it is hidden, kind]. Raises TypeError for
    a rule that native code has no word for.
    """
    types = [[name, _event(name, model)] for name, model in MODELS.items()]
    return msgspec.msgpack.encode([max_record_bytes, _TAG, types])


def _event(name: str, model: type[BaseModel]) -> list[Any]:
    struct = inspect.type_info(EVENTS[name])
    assert isinstance(struct, inspect.StructType)
    tag = [_TAG, _REQUIRED, False, False, [_LITERAL, [name]]]  # a Struct's tag comes first in what it is written as
    return [tag, *_fields(struct, model)]


def _fields(struct: inspect.StructType, model: type[BaseModel]) -> list[Any]:
    hidden = hidden_fields(model)
    return [
        [field.name, _absence(field), *_nullable(field.type, field.name in hidden, model.model_fields[field.name])]
        for field in struct.fields
    ]


def _absence(field: inspect.Field) -> int:
    if field.required:
        return _REQUIRED
    if field.default is None:
        return _NULL
    if field.default == ():
        return _EMPTY_LIST
    raise TypeError(f"{field.name}: no word for its default")


def _nullable(kind: inspect.Type, hidden: bool, info: FieldInfo) -> list[Any]:
    """Whether null is allowed, whether it is hidden, and the kind of what it is if not null."""
    inner = glance.inner_model(info.annotation)
    is_hex = glance.is_hexadecimal(info)
    if isinstance(kind, inspect.UnionType):
        arms = [arm for arm in kind.types if not isinstance(arm, inspect.NoneType)]
        if len(arms) != 1:
            raise TypeError(f"no word for {kind}")
        return [len(arms) < len(kind.types), hidden, _kind(arms[0], inner, is_hex)]
    return [False, hidden, _kind(kind, inner, is_hex)]


def _kind(kind: inspect.Type, inner: type[BaseModel] | None, is_hex: bool) -> list[Any]:
    match kind:
        case inspect.StrType(pattern=None):
            return [_TEXT, kind.min_length or 0, _MOST if kind.max_length is None else kind.max_length, is_hex]
        case inspect.IntType(gt=None, lt=None, multiple_of=None):
            return [_INTEGER, _LEAST if kind.ge is None else kind.ge, _MOST if kind.le is None else kind.le]
        case inspect.FloatType(gt=None, lt=None, multiple_of=None, ge=float(), le=float()):
            return [_FLOAT, kind.ge, kind.le]
        case inspect.BoolType():
            return [_BOOLEAN]
        case inspect.DateTimeType(tz=True):
            return [_INSTANT]
        case inspect.LiteralType() if all(isinstance(value, str) for value in kind.values):
            return [_LITERAL, list(kind.values)]
        case inspect.StructType(tag=None, array_like=False) if inner is not None:
            return [_OBJECT, _fields(kind, inner)]
        case inspect.VarTupleType() if not kind.min_length and kind.max_length is not None and not is_hex:
            return [_LIST, kind.max_length, _kind(kind.item_type, inner, False)]
    raise TypeError(f"no word for {kind}")
