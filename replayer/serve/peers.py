"""Other workers: who owns a partition, and asking that one. One hop, a time-out, only ever to `Tables.owner()`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import structlog
from aiohttp import web
from yarl import URL

from replayer.core.outcome import Rows
from replayer.serve.ports import Tables, WebMetrics
from replayer.serve.problems import RETRY_AFTER_S, Problem, bad_query, unavailable

log = structlog.get_logger(__name__)

HOP = "Replayer-Hop"
"""On a request that a worker sent: it is answered here or refused, never sent on."""

PARTITIONS = "Replayer-Partitions"
"""Beside the hop header, on lists: the partitions (numbers, comma separated) that the answer must cover exactly."""

_PASSED_ON = ("Content-Type", "Retry-After", "WWW-Authenticate", "Allow")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a peer said; `headers` only those that are passed on."""

    status: int
    headers: dict[str, str]
    body: bytes

    def response(self) -> web.Response:
        return web.Response(status=self.status, headers=self.headers, body=self.body)


class Relayed(Problem):
    """A peer's refusal that is the caller's to act on (its token, its rate): passed on as it came."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status, "relayed", "refused by another worker")
        self._answer = answer

    def response(self) -> web.Response:
        return self._answer.response()


def was_forwarded(request: web.Request) -> bool:
    return HOP in request.headers


def asked_partitions(request: web.Request, table_partitions: int) -> list[int]:
    """The partitions a forwarded list request asks for; a 400 naming the header where it does not say."""
    stated = request.headers.get(PARTITIONS, "").split(",")
    if not all(part.isascii() and part.isdigit() and len(part) <= 6 for part in stated):
        raise bad_query(PARTITIONS, f"A forwarded list names its partitions: {PARTITIONS}: 0,2.")
    numbers = sorted({int(part) for part in stated})
    if numbers[-1] >= table_partitions:
        raise bad_query(PARTITIONS, f"This worker's table has {table_partitions} partitions, counted from 0.")
    return numbers


def locate(tables: Tables, table: str, partition: int, *, forwarded: bool) -> Rows | str:
    """The partition's rows where this worker owns it, else the base URL of the worker that does.

    Raises a 503 while nobody is known to own it, and a 508 where the request was forwarded already and this worker
    would send it on again: the two workers disagree about the assignment.
    """
    rows = tables.rows(table, partition)
    if rows is not None:
        return rows
    owner = tables.owner(table, partition)
    if owner is None or tables.status().rebalancing or _same(owner, tables.own_url):
        raise unavailable(f"Partition {partition} is changing hands; ask again in {RETRY_AFTER_S} s.")
    if forwarded:
        raise Problem(
            508,
            "loop-detected",
            f"Partition {partition} was looked for here by another worker, but is not here: ask again.",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        )
    return owner


class Peers:
    """Asks other workers. Open while the web server runs; a peer must answer within `timeout_s`."""

    def __init__(self, timeout_s: float, metrics: WebMetrics) -> None:
        self._timeout_s, self._metrics = timeout_s, metrics
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        # No proxies, cookies or redirects: what a peer is sent carries the caller's token.
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, request: web.Request, owner: str, partitions: Sequence[int]) -> Answer:
        """The same request, of the owner of `partitions`. Raises a 503 where it cannot be reached or cut off."""
        session = self._session
        if session is None:
            raise RuntimeError("Peers.ask before Peers.open")
        headers = {HOP: "1", PARTITIONS: ",".join(map(str, partitions))}
        if authorization := request.headers.get("Authorization"):
            headers["Authorization"] = authorization
        operation = request.match_info.route.name or "unknown"
        # Joined as text, not resolved as a reference: a path like //host/ must not choose the server.
        url = URL(owner.rstrip("/") + request.rel_url.raw_path_qs, encoded=True)
        try:
            async with session.get(url, headers=headers, allow_redirects=False) as answer:
                body = await answer.read()
                passed = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
                self._metrics.forwarded(operation, answer.status)
                return Answer(answer.status, passed, body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._metrics.forwarded(operation, None)
            log.warning("a peer did not answer", owner=owner, partitions=list(partitions), error=type(error).__name__)
            raise unavailable(
                f"The worker that owns partition {', '.join(map(str, partitions))} does not answer; "
                f"ask again in {RETRY_AFTER_S} s."
            ) from None


def _same(one: str, other: str) -> bool:
    return one.rstrip("/") == other.rstrip("/")
