"""What of an event may leave the log: its public and internal fields, as canonical JSON.

Rows, views, results and digests are made of projections; nothing else in the product sees a confidential value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from pydantic import BaseModel

from topics.classification import classification_of
from topics.envelope import Envelope
from topics.events import MODELS
from topics.fast import Event
from topics.glance import inner_model

PROJECTION_VERSION = 1
"""Raised whenever the same event would project to other bytes; digests of unequal versions are incomparable."""

_encode = msgspec.json.Encoder().encode
Strip = Callable[[Any], Any]


def project(event: Event) -> bytes:
    """Canonical JSON of the event's public and internal fields: the models' order, null and empty left out."""
    return _encode(_STRIP[event.event_type](event) if not event.future else _STRIP_FUTURE(event))


def projected(event: Event, content: bytes) -> bytes:
    """`project(event)`, given the content `codec.read` gave with it: the same bytes where nothing had to go."""
    return content if event.bare() and not event.future else project(event)


def hidden_fields(model: type[BaseModel]) -> list[str]:
    """Fields that must not be projected. Each is optional, so that leaving it out leaves a valid event.

    Raises TypeError for a field nobody classified, or a hidden one that is required.
    """
    hidden = []
    for name, info in model.model_fields.items():
        level = classification_of(info)
        if level is None:
            raise TypeError(f"{model.__name__}.{name} has no classification")
        if not level.projected:
            if info.is_required() or info.default is not None:
                raise TypeError(f"{model.__name__}.{name} is {level} and so must default to None")
            hidden.append(name)
    return hidden


def _stripper(model: type[BaseModel]) -> Strip | None:
    """A function that gives its struct back without hidden values: the same object where there were none.

    None where the model cannot hold any.
    """
    hidden = hidden_fields(model)
    nested: list[tuple[str, Strip]] = []
    for name, info in model.model_fields.items():
        inner = inner_model(info.annotation)
        if name not in hidden and inner is not None and (strip := _stripper(inner)) is not None:
            nested.append((name, strip))
    if not hidden and not nested:
        return None

    def strip_one(struct: Any) -> Any:
        changes: dict[str, Any] = {}
        for name in hidden:
            if getattr(struct, name) is not None:
                changes[name] = None
        for name, strip in nested:
            value = getattr(struct, name)
            if value is not None:
                stripped = tuple(map(strip, value)) if isinstance(value, tuple) else strip(value)
                if stripped is not value:
                    changes[name] = stripped
        return msgspec.structs.replace(struct, **changes) if changes else struct

    return strip_one


def _must(model: type[BaseModel]) -> Strip:
    strip = _stripper(model)
    if strip is None:
        raise TypeError(f"{model.__name__} hides nothing: subject_id must be confidential")
    return strip


_STRIP: dict[str, Strip] = {name: _must(model) for name, model in MODELS.items()}
_STRIP_FUTURE: Strip = _must(Envelope)
