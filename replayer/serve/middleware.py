"""What surrounds every view, outermost first: count and seal, turn errors into problems, let in.

They go into Faust's web server through its setting `web_application_options`.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Awaitable, Callable, Collection

import structlog
from aiohttp import web
from yarl import URL

from replayer.core.errors import ReplayerError
from replayer.serve import auth
from replayer.serve.auth import Caller, Role, Tokens
from replayer.serve.limit import CallerLimit
from replayer.serve.ports import WebMetrics
from replayer.serve.problems import Problem, of_http
from replayer.serve.site import SITE

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]

MAX_TARGET_CHARS = 8192
CALLER = web.RequestKey("caller", Caller)

HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Server": "replayer",
}


def sealed(metrics: WebMetrics) -> Middleware:
    """Counts every answer by operation and puts the security headers on it."""

    @web.middleware
    async def seal(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        status = 499  # what stays if the caller hangs up first
        try:
            answer = await handler(request)
            status = answer.status
        finally:
            metrics.answered(operation_name(request) or "unknown", status, time.perf_counter() - started)
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    return seal


@web.middleware
async def refusing(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal and every failure as application/problem+json."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem.response()
    except web.HTTPException as refusal:
        return of_http(refusal).response()
    except ReplayerError as error:  # its text is ours: a sentence that says what to do, and quotes nothing
        log.error("a view failed", operation=operation_name(request), error=type(error).__name__, reason=str(error))
        return Problem(500, "internal-error", "The server failed at this; its log says why.").response()
    except Exception as error:  # noqa: BLE001 - the boundary: whatever a view did not foresee is a 500 and a log line
        # Neither the error's text nor the request goes into the log: either may quote a payload or a token.
        frames = traceback.extract_tb(error.__traceback__)
        where = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames[-6:]]
        log.error("a view failed", operation=operation_name(request), error=type(error).__name__, where=where)
        return Problem(500, "internal-error", "The server failed at this; its log says where.").response()


def letting_in(
    tokens: Tokens,
    limit: CallerLimit,
    public: Collection[str],
    needs: Callable[[str | None], Role],
    max_body_bytes: int,
) -> Middleware:
    """Size, host, token, rate and role, in this order. `public` names the operations that skip all but the size."""

    @web.middleware
    async def let_in(request: web.Request, handler: Handler) -> web.StreamResponse:
        if len(request.rel_url.raw_path_qs) > MAX_TARGET_CHARS:
            raise web.HTTPRequestURITooLong
        if (request.content_length or 0) > max_body_bytes:
            raise web.HTTPRequestEntityTooLarge(max_body_bytes, request.content_length or 0)
        name = operation_name(request)
        if name in public:
            return await handler(request)
        request[CALLER] = caller = await _caller(request, tokens, limit)
        needed = needs(name)
        if not caller.may(needed):
            raise auth.forbidden(needed)
        return await handler(request)

    return let_in


def operation_name(request: web.Request) -> str | None:
    """The operation's name, which is its route's; None where nothing is served under the path and method."""
    return request.match_info.route.name


async def _caller(request: web.Request, tokens: Tokens, limit: CallerLimit) -> Caller:
    """Who asks, after counting it; raises a 401, 421 or 429."""
    peer = f"peer:{request.remote}"
    if tokens.open:
        _check_host(request)
        await limit.spend(peer)
        return Caller(peer, Role.ADMIN)
    presented = request.headers.getall("Authorization", [])
    caller = tokens.caller(presented[0]) if len(presented) == 1 else None
    await limit.spend(caller.name if caller else peer)
    if caller is None:
        raise auth.unauthorized(bool(presented))
    return caller


def _check_host(request: web.Request) -> None:
    """Without tokens, loopback is the only guard, and a web page whose name was rebound to 127.0.0.1 gets past it.

    Its requests carry its own name as Host, so only names of this machine are answered.
    """
    try:
        host = URL(f"http://{request.headers.get('Host', '')}").host or ""
    except ValueError:
        host = ""
    site = request.app.get(SITE)
    if not auth.is_loopback(host) and not (site and host == URL(site.tables.own_url).host):
        raise Problem(421, "misdirected-request", "Without tokens this server answers to names of loopback only.")
