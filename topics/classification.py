"""How sensitive a field is. Every field of every event says so, and what leaves the log depends on it.

Usage: ``agent_id: Annotated[Name, INTERNAL]``. Reading it back: `classification_of(field_info)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Classification(StrEnum):
    """From harmless to harmful. Rows, views and logs hold `public` and `internal` only."""

    PUBLIC = "public"
    INTERNAL = "internal"
    CONFIDENTIAL = "confidential"
    RESTRICTED = "restricted"

    @property
    def projected(self) -> bool:
        """Whether a field of this class may leave the log: into table rows, views and results."""
        return self in (Classification.PUBLIC, Classification.INTERNAL)

    @property
    def rank(self) -> int:
        """0 (public) to 3 (restricted), for comparing."""
        return list(Classification).index(self)


@dataclass(frozen=True, slots=True)
class Classified:
    """The marker a field carries in its `Annotated`; it also writes `x-classification` into the JSON Schema."""

    level: Classification

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        json_schema = handler(schema)
        json_schema["x-classification"] = self.level.value
        return json_schema


PUBLIC = Classified(Classification.PUBLIC)
INTERNAL = Classified(Classification.INTERNAL)
CONFIDENTIAL = Classified(Classification.CONFIDENTIAL)
RESTRICTED = Classified(Classification.RESTRICTED)


def classification_of(info: FieldInfo) -> Classification | None:
    """The field's own classification, or None where its author forgot it (a test refuses that)."""
    levels = [meta.level for meta in info.metadata if isinstance(meta, Classified)]
    return levels[-1] if levels else None
