"""Asking a worker: patience, refusals, and things that are no worker."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from replayer.commands.failures import CommandFailed, Exit
from replayer.commands.replay import follow
from replayer.commands.views import Views


class Scripted(ThreadingHTTPServer):
    """Answers with what is in `script`, the last one again and again; remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[tuple[int, bytes]] = []
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Scripted

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Authorization"]))
        status, body = self.server.script.pop(0) if len(self.server.script) > 1 else self.server.script[0]
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def worker() -> Iterator[Scripted]:
    with Scripted() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def answer(value: object, status: int = 200) -> tuple[int, bytes]:
    return status, json.dumps(value).encode()


def test_ids_are_quoted_and_absent_parameters_left_out(worker: Scripted) -> None:
    worker.script = [answer({"status": "ok"})]
    got = Views(worker.url + "/").get(
        "v1", "workflows", "a/b?c d", tenant="x&y", order=None, from_="2026-01-01T00:00:00Z"
    )
    assert got == {"status": "ok"}
    assert worker.asked[0][0] == "/v1/workflows/a%2Fb%3Fc%20d?tenant=x%26y&from=2026-01-01T00%3A00%3A00Z"


def test_the_token_comes_from_the_environment(worker: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    worker.script = [answer({})]
    Views(worker.url).get("readyz")
    monkeypatch.setenv("REPLAYER_API_TOKEN", "t0ps3cret")
    Views(worker.url).get("readyz")
    assert [token for _, token in worker.asked] == [None, "Bearer t0ps3cret"]


def test_pages_are_followed_to_the_end(worker: Scripted) -> None:
    worker.script = [
        answer({"items": [1, 2], "next_cursor": "more"}),
        answer({"items": [], "next_cursor": "again"}),
        answer({"items": [3], "next_cursor": None}),
    ]
    assert list(Views(worker.url).pages("v1", "workflows")) == [1, 2, 3]
    assert [path for path, _ in worker.asked] == [
        "/v1/workflows?limit=1000",
        "/v1/workflows?limit=1000&cursor=more",
        "/v1/workflows?limit=1000&cursor=again",
    ]


@pytest.mark.parametrize("status", [429, 503])
def test_a_worker_that_cannot_answer_yet_is_asked_again(worker: Scripted, status: int) -> None:
    worker.script = [answer({"detail": "rebalancing"}, status), answer({"status": "ok"})]
    assert Views(worker.url).get("readyz") == {"status": "ok"}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, Exit.USAGE),
        (401, Exit.REFUSED),
        (403, Exit.REFUSED),
        (404, Exit.NOT_FOUND),
        (500, Exit.FAILED),
        (503, Exit.UNREACHABLE),
        (508, Exit.UNREACHABLE),
    ],
)
def test_a_refusal_is_the_workers_own_sentence(worker: Scripted, status: int, code: Exit) -> None:
    worker.script = [answer({"title": "No", "detail": "Because.", "field": "tenant"}, status)]
    with pytest.raises(CommandFailed, match="tenant: Because") as failed:
        Views(worker.url, patience_s=0).get("v1", "workflows")
    assert failed.value.code is code


def replay(state: str) -> dict[str, object]:
    return {"replay_id": "r", "state": state, "coverage": None, "total": None}


def test_a_replay_nobody_begins_is_waited_for_and_that_is_said(
    worker: Scripted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("replayer.commands.replay.TAKEN_S", 0.0)
    worker.script = [answer(replay("PLANNED"))] * 3 + [answer(replay("RUNNING")), answer(replay("COMPLETED"))]
    assert follow(Views(worker.url), "r")["state"] == "COMPLETED"
    assert capsys.readouterr().err.count("Replay r has not begun: all investigators are busy, or none runs") == 1


def test_a_wait_ends_when_its_time_is_over(worker: Scripted) -> None:
    worker.script = [answer(replay("PLANNED"))] * 20
    with pytest.raises(CommandFailed, match=r"Replay r is PLANNED after 0\.5 s") as failed:
        follow(Views(worker.url), "r", timeout_s=0.5)
    assert failed.value.code is Exit.FAILED


def test_a_wait_for_a_replay_nobody_knows_ends_in_time_too(worker: Scripted) -> None:
    worker.script = [answer({"detail": "no such replay"}, 404)] * 20
    began = time.monotonic()
    with pytest.raises(CommandFailed, match="no such replay"):
        follow(Views(worker.url), "r", timeout_s=0.5)
    assert time.monotonic() - began < 30, "not after the minute an unknown one is waited for otherwise"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"', b"\xff"])
def test_a_refusal_without_a_reason_is_a_sentence_all_the_same(worker: Scripted, body: bytes) -> None:
    worker.script = [(404, body)]
    with pytest.raises(CommandFailed, match="404"):
        Views(worker.url).get("v1", "workflows")


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe"])
def test_what_sends_no_json_is_no_worker(worker: Scripted, body: bytes) -> None:
    worker.script = [(200, body)]
    with pytest.raises(CommandFailed, match="no replayer worker"):
        Views(worker.url).get("v1", "workflows")


def test_a_connection_that_breaks_off_is_unreachable(worker: Scripted) -> None:
    worker.script = [(0, b"")]
    with pytest.raises(CommandFailed, match=worker.url) as failed:
        Views(worker.url).get("v1", "workflows")
    assert failed.value.code is Exit.UNREACHABLE


@pytest.mark.parametrize("url", ["", "worker:6066", "file:///etc/passwd", "http://"])
def test_only_http_addresses_are_asked(url: str) -> None:
    with pytest.raises(CommandFailed) as failed:
        Views(url)
    assert failed.value.code is Exit.USAGE
