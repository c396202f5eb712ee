"""Every way an answer can be a refusal: RFC 9457 problems, served as application/problem+json.

A detail says what to do and names the parameter; it never repeats a value, a token or a payload.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2  # a rebalance settles within a second or two; a client that asks sooner only adds to it


class ProblemDetails(BaseModel):
    """RFC 9457. `type` tells programs which kind it is, `detail` tells people what to do about it."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(description="urn:replayer:problem:<kind>, stable")
    title: str = Field(description="the kind, in words")
    status: int = Field(ge=400, le=599)
    detail: str | None = Field(default=None, description="this occurrence, and what to do about it")
    field: str | None = Field(default=None, description="the query parameter (or header) at fault")


class Problem(Exception):
    """Raised anywhere below a view; the problem middleware answers it."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.field = field
        self.headers = dict(headers or {})

    def response(self) -> web.Response:
        details = ProblemDetails(
            type=f"urn:replayer:problem:{self.kind}",
            title=self.kind.replace("-", " ").capitalize(),
            status=self.status,
            detail=self.detail,
            field=self.field,
        )
        body = orjson.dumps(details.model_dump(exclude_none=True))
        return web.Response(body=body, status=self.status, content_type=MEDIA_TYPE, headers=self.headers)


def bad_query(field: str, detail: str) -> Problem:
    """400: the caller's parameter `field` breaks the rule that `detail` states."""
    return Problem(400, "bad-query", detail, field=field)


def not_found(detail: str) -> Problem:
    return Problem(404, "not-found", detail)


def unavailable(detail: str) -> Problem:
    """503 with Retry-After: right now nobody can answer this truly; the same request may succeed in a moment."""
    return Problem(503, "unavailable", detail, headers={"Retry-After": str(RETRY_AFTER_S)})


def not_ready(detail: str) -> Problem:
    """503 with Retry-After from /readyz, and from everything that is asked before the app is there."""
    return Problem(503, "not-ready", detail, headers={"Retry-After": str(RETRY_AFTER_S)})


_KINDS: Mapping[int, tuple[str, str]] = {
    400: ("bad-request", "The request is not one this server can read."),
    404: ("not-found", "Nothing is served under this path; /openapi.json lists what is."),
    405: ("method-not-allowed", "The path exists, but not with this method; the Allow header lists those it has."),
    413: ("content-too-large", "The request's body is larger than this server takes."),
    414: ("uri-too-long", "The request's path and query are longer than this server takes."),
}


def of_http(refusal: web.HTTPException) -> Problem:
    """aiohttp's own refusals (no such path, wrong method, body too large) as problems, their headers kept."""
    kind, detail = _KINDS.get(
        refusal.status,
        (HTTPStatus(refusal.status).phrase.lower().replace(" ", "-"), HTTPStatus(refusal.status).description),
    )
    kept = {name: value for name, value in refusal.headers.items() if name.lower() == "allow"}
    return Problem(refusal.status, kind, detail, headers=kept)
