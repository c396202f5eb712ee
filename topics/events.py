"""Envelope and data together: one pydantic model per event type, THE definition, and how to write an event.

>>> encode(PolicyEvaluated(policy_id="pii", outcome="redact"), event_id="e-1", workflow_id="w-1",
...        occurred_at=datetime(2025, 1, 31, tzinfo=UTC), tenant_id="acme", source="guard", agent_id="support")
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, cast

from pydantic import Field, create_model

from topics.classification import INTERNAL, PUBLIC
from topics.envelope import Envelope
from topics.fields import Model
from topics.registry import BY_DATA, EVENT_TYPES, EventType


class EventModel(Envelope):
    """An envelope with its `data`; `MODELS` narrows `data` per event type."""

    data: Annotated[Model, INTERNAL]


def _model(known: EventType) -> type[EventModel]:
    fields: dict[str, Any] = {
        "event_type": (Annotated[Literal[known.name], PUBLIC], ...),
        # This one only: what is older is made new first (topics.upcast), what is newer is kept as it is.
        "schema_version": (Annotated[int, PUBLIC, Field(ge=known.schema_version, le=known.schema_version)], ...),
        "data": (Annotated[known.data, INTERNAL], ...),
    }
    return cast(
        "type[EventModel]",
        create_model(f"{known.data.__name__}Event", __base__=EventModel, __doc__=known.data.__doc__, **fields),
    )


MODELS: Mapping[str, type[EventModel]] = MappingProxyType({name: _model(known) for name, known in EVENT_TYPES.items()})


def event(data: Model, **envelope: object) -> EventModel:
    """An event of the type `data` belongs to; its type and schema version follow from it.

    Raises pydantic.ValidationError where a field breaks its rule, KeyError where `data` is no event's data.
    """
    known = BY_DATA[type(data)]
    stated = {"event_type": known.name, "schema_version": known.schema_version, **envelope}
    return MODELS[known.name].model_validate({**stated, "data": data})


def wire(model: Envelope) -> bytes:
    """The event as it goes on the wire: compact JSON, UTF-8, nothing that is null or an empty list."""
    return model.model_dump_json(exclude_defaults=True).encode()


def encode(data: Model, **envelope: object) -> bytes:
    """`event`, then `wire`."""
    return wire(event(data, **envelope))


def topic_of(event_type: str) -> str:
    """The topic events of this type travel on; KeyError for a type nobody registered."""
    return EVENT_TYPES[event_type].family
