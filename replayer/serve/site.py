"""What every view is given: the tables, the other workers, the settings, the counters. One per web server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web
from pydantic import BaseModel, TypeAdapter

from replayer.serve.auth import Role
from replayer.serve.peers import Peers
from replayer.serve.ports import Tables, WebMetrics
from replayer.serve.queries import Query
from replayer.settings import Settings


@dataclass(frozen=True, slots=True)
class Site:
    tables: Tables
    peers: Peers
    settings: Settings
    metrics: WebMetrics
    document: bytes


SITE = web.AppKey("site", Site)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read and found well-formed."""

    site: Site
    request: web.Request
    ids: Mapping[str, str]
    query: Any
    operation: Operation


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the route table: what is served where, to whom, and in which shape.

    `path` as OpenAPI writes it; `ids` are the types of its placeholders. `needs` None: open to everybody.
    `answer`: the model of the 200's JSON, or the media type where it is not JSON of ours.
    `refusals`: the statuses it may answer beside those that all operations share.
    """

    name: str
    path: str
    summary: str
    handler: Handler
    answer: type[BaseModel] | str
    needs: Role | None = Role.READER
    query: type[Query] = Query
    ids: Mapping[str, TypeAdapter[str]] = field(default_factory=dict)
    refusals: tuple[int, ...] = ()
    method: str = "GET"


def answer(call: Call, payload: object) -> web.Response:
    """`payload` as the operation's documented answer; raises pydantic.ValidationError where it is not one.

    It is checked as the JSON that goes out, and goes out as it was checked.
    """
    model = call.operation.answer
    if isinstance(model, str):
        raise TypeError(f"{call.operation.name} answers {model}, not a model")
    body = orjson.dumps(payload)
    model.__pydantic_validator__.validate_json(body)
    return web.Response(body=body, content_type="application/json")
