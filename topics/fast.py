"""The hot path's types: msgspec Structs derived from the pydantic fields, so that there is one definition only.

A derived type accepts what its model accepts or less, never more, given two things that would cost a regex per string
and that the codec asks once: that the bytes hold no escaped NUL (`\\u0000`, the rule of `fields.NO_NUL`), and that what
must be hexadecimal is (`Event.hexadecimal`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType, NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union, cast, get_args, get_origin

import msgspec
from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from topics import glance
from topics.envelope import Envelope
from topics.events import MODELS
from topics.fields import HEX_PATTERNS, NO_NUL, micros

_BY_TAG = "event_type"  # the struct's class says it, so it is not stored per event


class Event(msgspec.Struct, frozen=True, gc=False):
    """A decoded event: the envelope's fields as attributes, `data` typed by `event_type`.

    `future`: the type is known but its schema_version is above this release's; `data` is then None.
    """

    event_type: ClassVar[str]
    future: ClassVar[bool] = False

    if TYPE_CHECKING:  # what every derived struct has; a test holds this list to the pydantic envelope
        event_id: str
        schema_version: int
        workflow_id: str
        occurred_at: datetime
        tenant_id: str
        source: str
        agent_id: str
        decision_id: str | None
        parent_event_id: str | None
        correlation_id: str | None
        original_event_id: str | None
        trace_id: str | None
        span_id: str | None
        subject_id: str | None
        key_id: str | None
        data: Any

        def hexadecimal(self) -> bool:
            """Whether trace ids and hashes are lower-case hexadecimal digits. May raise ValueError instead of False."""

        def bare(self) -> bool:
            """Whether nothing in it must be hidden from a projection."""

    @property
    def occurred_us(self) -> int:
        """`occurred_at` in microseconds since 1970 (UTC)."""
        return micros(self.occurred_at)


def _meta(metadata: Iterable[object]) -> dict[str, Any]:
    """pydantic's constraints in msgspec's words; one we cannot say is an error at import, not a silent gap."""
    found: dict[str, Any] = {}
    for rule in metadata:
        match rule:
            case FieldInfo():
                found |= _meta(rule.metadata)
            case MinLen():
                found["min_length"] = rule.min_length
            case MaxLen():
                found["max_length"] = rule.max_length
            case Ge():
                found["ge"] = rule.ge
            case Le():
                found["le"] = rule.le
            case _ if (pattern := getattr(rule, "pattern", None)) is not None:
                if pattern != NO_NUL and pattern not in HEX_PATTERNS:
                    found["pattern"] = pattern
            case _ if type(rule).__name__ in _SAID_OTHERWISE or getattr(rule, "allow_inf_nan", None) is False:
                pass  # JSON has no inf or NaN
            case _:
                raise TypeError(f"no msgspec word for {type(rule).__name__}")
    return found


_SAID_OTHERWISE = frozenset({"Classified", "BeforeValidator", "PlainSerializer", "WithJsonSchema", "FailFast"})


def _derived(annotation: Any, metadata: Iterable[object] = ()) -> Any:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *rules = get_args(annotation)
        return _derived(inner, [*rules, *metadata])
    if origin in (Union, UnionType):
        return Union[tuple(_derived(arm, metadata if arm is not NoneType else ()) for arm in get_args(annotation))]  # noqa: UP007 - computed
    if origin is tuple:
        element, _ellipsis = get_args(annotation)
        plain: Any = tuple[_derived(element), ...]  # type: ignore[misc] # computed
    elif origin is Literal or annotation in (str, int, float, bool, NoneType):
        plain = annotation
    elif annotation is datetime:
        return Annotated[datetime, msgspec.Meta(tz=True)]
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _struct(annotation)
    else:
        raise TypeError(f"no msgspec type for {annotation!r}")
    meta = _meta(metadata)
    return Annotated[plain, msgspec.Meta(**meta)] if meta else plain


def _fields(model: type[BaseModel]) -> list[Any]:
    fields = []
    for name, info in model.model_fields.items():
        derived = _derived(info.annotation, info.metadata)
        fields.append((name, derived) if info.is_required() else (name, derived, info.default))
    return fields


_STRUCTS: dict[type[BaseModel], type[msgspec.Struct]] = {}


def _struct(model: type[BaseModel]) -> type[msgspec.Struct]:
    if model not in _STRUCTS:
        _STRUCTS[model] = msgspec.defstruct(
            model.__name__, _fields(model), kw_only=True, frozen=True, gc=False, omit_defaults=True
        )
    return _STRUCTS[model]


def _event(name: str, model: type[BaseModel]) -> type[Event]:
    fields = [field for field in _fields(model) if field[0] != _BY_TAG]
    return cast(
        "type[Event]",
        msgspec.defstruct(
            model.__name__,
            fields,
            bases=(Event,),
            namespace={_BY_TAG: name, "hexadecimal": glance.hexadecimal(model), "bare": glance.bare(model)},
            tag_field=_BY_TAG,
            tag=name,
            kw_only=True,
            frozen=True,
            gc=False,
            omit_defaults=True,
        ),
    )


def _future() -> type[Event]:
    return cast(
        "type[Event]",
        msgspec.defstruct(
            "FutureEvent",
            [*_fields(Envelope), ("data", None, None)],
            bases=(Event,),
            namespace={"future": True, "hexadecimal": glance.hexadecimal(Envelope), "bare": glance.bare(Envelope)},
            kw_only=True,
            frozen=True,
            gc=False,
            omit_defaults=True,
        ),
    )


EVENTS: Mapping[str, type[Event]] = MappingProxyType({name: _event(name, model) for name, model in MODELS.items()})
FUTURE_EVENT: type[Event] = _future()
ANY_EVENT: Any = Union[tuple(EVENTS.values())]  # noqa: UP007  (the union is computed)
