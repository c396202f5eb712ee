"""JSON Schema (2020-12) of every event type, envelope and data in one, as `replayer schemas` prints it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from topics.events import MODELS
from topics.registry import EVENT_TYPES


def schema(event_type: str) -> dict[str, Any]:
    """The schema of one event type; fields carry `x-classification`. KeyError for a type nobody registered."""
    known = EVENT_TYPES[event_type]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:replayer:{known.name}:{known.schema_version}",
        "x-topic": known.family,
        "x-schema-version": known.schema_version,
        **MODELS[event_type].model_json_schema(mode="validation"),
    }


def schemas(event_types: Sequence[str] = tuple(EVENT_TYPES)) -> dict[str, dict[str, Any]]:
    """Schemas by event type: all of them where none is asked for."""
    return {name: schema(name) for name in event_types}
