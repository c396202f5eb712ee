"""JSON Schema (2020-12) of everything on the wire, as `replayer schemas` prints it.

Events by their event type, envelope and data in one; all else by its topic. Of dead letters it is the headers. What
workers tell their own index (`template-usage`) is MessagePack, of no use to others, and has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from topics.catalogue import DEAD_LETTERS, REPLAY_COMMANDS, REPLAY_PROGRESS, REPLAY_RESULTS
from topics.commands import COMMAND_VERSION, ReplayCommand
from topics.events import MODELS
from topics.letters import LETTER_VERSION, DeadLetterHeaders
from topics.progress import PROGRESS_VERSION, ReplayProgress
from topics.registry import EVENT_TYPES
from topics.results import RESULT_VERSION, ResultRecord


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of record: its name, its topic, its schema version, its model."""

    name: str
    topic: str
    schema_version: int
    model: type[BaseModel]


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            *(Kind(name, known.family, known.schema_version, MODELS[name]) for name, known in EVENT_TYPES.items()),
            Kind(REPLAY_COMMANDS.name, REPLAY_COMMANDS.name, COMMAND_VERSION, ReplayCommand),
            Kind(REPLAY_PROGRESS.name, REPLAY_PROGRESS.name, PROGRESS_VERSION, ReplayProgress),
            Kind(REPLAY_RESULTS.name, REPLAY_RESULTS.name, RESULT_VERSION, ResultRecord),
            Kind(DEAD_LETTERS.name, DEAD_LETTERS.name, LETTER_VERSION, DeadLetterHeaders),
        )
    }
)


def schema(name: str) -> dict[str, Any]:
    """The schema of one kind; fields carry `x-classification`. KeyError for a name that is none of KINDS."""
    kind = KINDS[name]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:replayer:{kind.name}:{kind.schema_version}",
        "x-topic": kind.topic,
        "x-schema-version": kind.schema_version,
        **kind.model.model_json_schema(mode="validation"),
    }


def schemas() -> dict[str, dict[str, Any]]:
    """All of them by name."""
    return {name: schema(name) for name in KINDS}
