"""Which decisions something has touched: a tool, a model, a document, an index, in one version or any."""

from __future__ import annotations

from typing import Annotated, Self

from aiohttp import web
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from replayer.core import lookup
from replayer.core.outcome import Rows
from replayer.core.page import Page, Position
from replayer.core.shelf import DOCUMENT, INDEX, MODEL, TOOL
from replayer.serve import index_answers
from replayer.serve.gathering import Listing, listed
from replayer.serve.ports import TEMPLATES
from replayer.serve.queries import OfATime
from replayer.serve.site import Call
from replayer.serve.templates import decision_key
from topics.fields import Code, Name

_MODEL_CHARS = 401  # provider, slash, model


class TouchedQuery(OfATime):
    """What touched them: one thing, by its name, its version or both. [from, to) is of when it did first."""

    tool: Annotated[Name | None, Field(description="this tool")] = None
    tool_version: Annotated[Code | None, Field(description="in this version; unset: in any")] = None
    model: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=_MODEL_CHARS,
            pattern=r"^[^\x00]*$",
            description="provider/model, or the model, whoever provides it",
        ),
    ] = None
    model_version: Annotated[Name | None, Field(description="in this version; unset: in any")] = None
    document_id: Annotated[Name | None, Field(description="this retrieved document")] = None
    document_version: Annotated[
        Code | None, Field(description="in this version; unset: in any; only with document_id, for there are many")
    ] = None
    index: Annotated[Name | None, Field(description="this index documents were looked up in")] = None
    index_version: Annotated[Code | None, Field(description="in this version; unset: in any")] = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self._named) != 1:
            raise PydanticCustomError(
                "one", "name one of tool, model, document_id, index and index_version, with its version or without"
            )
        if self.document_version is not None and self.document_id is None:
            raise PydanticCustomError("one", "document_version says nothing without document_id: documents are many")
        return self

    @property
    def _named(self) -> list[tuple[bytes, str | None, str | None]]:
        told = [(kind, getattr(self, name), getattr(self, version)) for kind, name, version in _THINGS]
        return [one for one in told if one[1] is not None or one[2] is not None]

    @property
    def thing(self) -> tuple[bytes, str | None, str | None]:
        """Kind, name and version of what is asked for."""
        (found,) = self._named
        return found


_THINGS = (
    (TOOL, "tool", "tool_version"),
    (MODEL, "model", "model_version"),
    (DOCUMENT, "document_id", "document_version"),
    (INDEX, "index", "index_version"),
)


async def decisions(call: Call) -> web.Response:
    query = call.query
    kind, name, version = query.thing

    def read(rows: Rows, after: Position | None, limit: int, budget: int) -> Page:
        return lookup.list_decisions(rows, kind, name, version, None, query.stretch, after, limit, budget)

    return await listed(call, Listing(TEMPLATES, read, decision_key, index_answers.TouchedDecision))
