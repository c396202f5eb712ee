"""Puts the views on Faust's own web server: its settings, what surrounds the views, and the routes.

Handlers are registered on the router of Faust's aiohttp application, not as Faust views: those carry no route name, by
which the middlewares tell operations apart, and answer errors in a shape of their own. Process, event loop, socket and
life cycle are Faust's either way.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

import orjson
from aiohttp import web
from faust.web.base import BlueprintManager

from replayer.serve import auth
from replayer.serve.auth import Tokens
from replayer.serve.limit import CallerLimit
from replayer.serve.middleware import letting_in, refusing, sealed
from replayer.serve.openapi import document
from replayer.serve.peers import Peers
from replayer.serve.ports import Tables, WebMetrics
from replayer.serve.protocol import Runner
from replayer.serve.queries import check_encoding, read, read_path
from replayer.serve.routes import BY_NAME, OPERATIONS, PUBLIC, needed
from replayer.serve.site import SITE, Call, Operation, Site
from replayer.settings import Settings

MAX_BODY_BYTES = 64 * 1024
_MAX_LINE_BYTES = 64 * 1024  # above what we answer 414 for, so that the answer is ours and not the parser's

FAUST_WEB_SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "web_enabled": True,
        "web_in_thread": False,  # views read rows on the event loop that writes them
        "web_tables_enabled": False,
        "web_router_enabled": False,
        "web_stats_enabled": False,
        "web_graph_enabled": False,
        "web_metrics_enabled": False,
        "web_cors_options": None,
    }
)
"""For faust.App. They turn off what serves tables and routes; `attach` removes what no setting can (the page at /)."""


def web_application_options(settings: Settings, metrics: WebMetrics) -> dict[str, Any]:
    """The value of Faust's setting of this name. Raises SettingsError where the server would be open to a network."""
    auth.check_open(settings)
    return {
        "middlewares": [
            sealed(metrics),
            refusing,
            letting_in(Tokens(settings.tokens), CallerLimit(settings.rate_limit_per_s), PUBLIC, needed, MAX_BODY_BYTES),
        ],
        "client_max_size": MAX_BODY_BYTES,
        "handler_args": {"max_line_size": _MAX_LINE_BYTES, "logger": _protocol_log()},
    }


def attach(
    faust_app: Any,
    tables: Tables,
    settings: Settings,
    metrics: WebMetrics,
    operations: Sequence[Operation] = OPERATIONS,
) -> Runner:
    """Register the operations on the app's web server. Call once, before the app starts.

    Answers with what the server is to be run with: Faust's own, but for what is no HTTP. `faust_app` was made with
    FAUST_WEB_SETTINGS and `web_application_options(settings, metrics)`.
    Raises SettingsError where the server would be open to a network.
    """
    auth.check_open(settings)
    faust_app.web.blueprints = BlueprintManager([])  # / and whatever a later Faust adds
    site = Site(
        tables=tables,
        peers=Peers(settings.forward_timeout_s, metrics),
        settings=settings,
        metrics=metrics,
        document=_described(tuple(operation.name for operation in operations), bool(settings.tokens)),
    )
    application: web.Application = faust_app.web.web_app
    application[SITE] = site
    application.cleanup_ctx.append(_peers_open)
    for operation in operations:
        add_route(application.router, site, operation)
    return Runner(application, metrics, access_log=None)


@cache
def _described(names: tuple[str, ...], tokens: bool) -> bytes:
    return orjson.dumps(document([BY_NAME[name] for name in names], tokens=tokens))


def add_route(router: web.UrlDispatcher, site: Site, operation: Operation) -> None:
    """One operation on the router, its name the operation's; HEAD comes with GET."""

    async def view(request: web.Request) -> web.StreamResponse:
        check_encoding(operation.path, request.rel_url)
        call = Call(
            site=site,
            request=request,
            ids=read_path(operation.ids, request.match_info),
            query=read(operation.query, request.query),
            operation=operation,
        )
        return await operation.handler(call)

    path = operation.path
    for name in operation.ids:
        path = path.replace(f"{{{name}}}", f"{{{name}:[^/]+}}")  # aiohttp's own pattern stops at braces
    resource = router.add_resource(path, name=operation.name)
    resource.add_route(operation.method, view)
    if operation.method == "GET":
        resource.add_route("HEAD", view)


async def _peers_open(application: web.Application) -> AsyncIterator[None]:
    peers = application[SITE].peers
    await peers.open()
    yield
    await peers.close()


class _WithoutBytes(logging.Filter):
    """Whatever else aiohttp logs of a connection: an exception's text may quote what was sent, a payload or a token."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        record.msg, record.args = "a connection failed: %s", (type(error).__name__,)
        record.exc_info = record.exc_text = None
        return True


def _protocol_log() -> logging.Logger:
    log = logging.getLogger("replayer.serve.protocol")
    if not log.filters:
        log.addFilter(_WithoutBytes())
    return log
