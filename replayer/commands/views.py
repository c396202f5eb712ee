"""Asking a worker's web views: JSON answers, refusals as named failures, patience while it rebalances."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from replayer.commands.failures import CommandFailed, Exit
from replayer.variables import API_TOKEN

PAGE = 1000
_CODES = {
    400: Exit.USAGE,
    401: Exit.REFUSED,
    403: Exit.REFUSED,
    404: Exit.NOT_FOUND,
    429: Exit.UNREACHABLE,
    503: Exit.UNREACHABLE,
    508: Exit.UNREACHABLE,  # two workers disagree for a moment about who owns what
}


class Views:
    """The web views at one base URL.

    Args:
        url: http://host:port of any worker.
        patience_s: how long a worker that answers 503 (it rebalances) or 429 (too many questions) is asked again.
        timeout_s: how long one answer may take.
    """

    def __init__(self, url: str, *, patience_s: float = 15.0, timeout_s: float = 30.0) -> None:
        if not _is_base(url):
            raise CommandFailed(
                f"{url} is no http://host:port of a worker: give one with --url, or as REPLAYER_WEB_URL.", Exit.USAGE
            )
        self.url = url.rstrip("/")
        self._patience_s, self._timeout_s = patience_s, timeout_s
        # No proxy: workers are asked directly, as they ask each other.
        self._opener = build_opener(ProxyHandler({}))

    def get(self, *path: str, **parameters: str | int | None) -> Any:
        """The JSON at a path of segments (each is quoted). Raises CommandFailed, its code saying what went wrong."""
        given = {name.rstrip("_"): value for name, value in parameters.items() if value is not None}
        query = f"?{urlencode(given)}" if given else ""
        target = f"{self.url}/{'/'.join(quote(segment, safe='') for segment in path)}{query}"
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                return self._ask(target)
            except CommandFailed as failed:
                if failed.code is not Exit.UNREACHABLE or time.monotonic() > deadline:
                    raise
            except ConnectionError as error:
                raise CommandFailed(
                    f"No worker answers at {self.url} ({error}): start `replayer worker`, or name one with --url.",
                    Exit.UNREACHABLE,
                ) from None
            time.sleep(0.5)

    def pages(self, *path: str, **parameters: str | int | None) -> Iterator[dict[str, Any]]:
        """Every item of a list, page after page."""
        cursor = None
        while True:
            page = self.get(*path, **{"limit": PAGE, "cursor": cursor, **parameters})
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _ask(self, target: str) -> Any:
        headers = {"Accept": "application/json"}
        if token := API_TOKEN.read():
            if not re.fullmatch(r"[!-~]+", token):  # a line break left by an editor, say; it must not be quoted
                raise CommandFailed(
                    f"{API_TOKEN.name} holds no token: only printable ASCII without spaces goes into a header.",
                    Exit.USAGE,
                )
            headers["Authorization"] = f"Bearer {token}"
        try:
            with self._opener.open(Request(target, headers=headers), timeout=self._timeout_s) as answer:  # noqa: S310 - http(s) only
                return json.load(answer)
        except HTTPError as refused:
            with refused:
                raise _refusal(refused.code, refused.read(65_536), self.url) from None
        except TimeoutError:
            raise CommandFailed(
                f"The worker at {self.url} did not answer within {self._timeout_s:.0f} s.", Exit.UNREACHABLE
            ) from None
        except URLError as error:
            raise ConnectionError(getattr(error.reason, "strerror", None) or str(error.reason)) from None
        except ConnectionError:
            raise ConnectionError("it hung up") from None
        except (ValueError, OSError, HTTPException):
            raise CommandFailed(f"What answers at {self.url} is no replayer worker: it sends no JSON.") from None


def _is_base(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # brackets that do not close, a port that is no number
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0 and not re.search(r"\s", url)


def _refusal(status: int, body: bytes, url: str) -> CommandFailed:
    """The problem document's own sentence, or the bare status where it is none."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if not isinstance(problem, Mapping):
        problem = {}
    sentence = problem.get("detail") or problem.get("title") or f"{url} answered {status} without a reason."
    if field := problem.get("field"):
        sentence = f"{field}: {sentence}"
    if status in (401, 403):
        sentence = f"{sentence} ({API_TOKEN.name} holds the token this command sends.)"
    return CommandFailed(str(sentence), _CODES.get(status, Exit.FAILED))


def views(url: str | None) -> Views:
    """The views at --url, else where the settings say a worker of this host listens."""
    if url is None:
        from replayer.settings import load

        url = load().url
    return Views(url)
