"""Bytes that are no HTTP: refused below the middlewares, so their answer, count and log line are made here.

aiohttp's own answer repeats the line it stumbled over, be it the one with the token, and logs an error for each.
"""

from __future__ import annotations

from typing import Any

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from replayer.serve.middleware import HEADERS
from replayer.serve.ports import WebMetrics
from replayer.serve.problems import Problem, of_http

log = structlog.get_logger(__name__)


class Runner(web.AppRunner):
    """What Faust runs its web server with, but refusing in our words. `options` are aiohttp's."""

    __slots__ = ("_metrics",)

    def __init__(self, application: web.Application, metrics: WebMetrics, **options: Any) -> None:
        super().__init__(application, **options)
        self._metrics = metrics

    async def _make_server(self) -> web.Server:
        return _Server(await super()._make_server(), self._metrics)


class _Server(web.Server):
    def __init__(self, made: web.Server, metrics: WebMetrics) -> None:
        super().__init__(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            **made._kwargs,
        )
        self.metrics = metrics

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("An answer is under way: no other can be sent.")
        if status == 400:
            # Below the level of our logs: anybody may send such bytes as often as they like. The count shows them.
            log.debug("a request could not be read", error=type(exc).__name__)
            problem = of_http(web.HTTPBadRequest())
        else:
            log.error("the middlewares failed", error=type(exc).__name__)
            problem = Problem(500, "internal-error", "The server failed at this; its log says at what.")
        if isinstance(self._manager, _Server):
            self._manager.metrics.answered("unknown", problem.status, 0.0)
        answer = problem.response()
        answer.headers.update(HEADERS)
        answer.force_close()
        return answer
