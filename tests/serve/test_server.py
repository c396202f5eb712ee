"""What surrounds the views: Faust's defaults are gone, errors are problems, headers are on, sizes are bounded."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import faust
import orjson
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from replayer.serve import server
from replayer.serve.ports import Status
from replayer.serve.problems import Problem
from replayer.settings import Settings, SettingsError
from tests.serve.serve_cluster import Cluster, CountingMetrics, FakeTables, World, free_port

FAUST_PATHS = [
    "/",
    "/assignment/",
    "/graph",
    "/graph/",
    "/stats",
    "/stats/",
    "/router",
    "/router/",
    "/router/topics",
    "/router/timelines/",
    "/router/timelines/key/",
    "/table",
    "/table/",
    "/table/timelines/",
    "/table/timelines/key/",
    "/performance",
    "/performance/",
]


async def test_faust_serves_nothing_of_its_own(cluster: Cluster) -> None:
    (worker,) = await cluster.start()
    for path in FAUST_PATHS:
        reply = await worker.get(path)
        assert (reply.status, reply.field) == (404, None), path


async def test_with_its_defaults_faust_would_serve_them(tmp_path: Any) -> None:
    """The list above is of paths that exist: without our settings and `attach`, Faust answers some of them."""
    app = faust.App(
        "defaults",
        broker="kafka://127.0.0.1:1",
        datadir=tmp_path,
        debug=True,
        web_bind="127.0.0.1",
        web_port=free_port(),
    )
    app.web.init_server()
    served = {route.resource.canonical for route in app.web.web_app.router.routes() if route.resource}
    assert {"/", "/assignment/", "/graph/", "/router/", "/router/topics", "/table/"} <= served
    assert {path.rstrip("/") or "/" for path in FAUST_PATHS} >= {
        (path.rstrip("/") or "/").replace("{name}", "timelines").replace("{key}", "key") for path in served
    }


async def test_alive_says_nothing_of_kafka(cluster: Cluster) -> None:
    (worker,) = await cluster.start()
    worker.tables.state = Status(assigned=False, recovered=False, rebalancing=True, detail="no broker")
    assert (await worker.get("/livez")).json == {"status": "alive"}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (Status(False, True, False, "waiting"), "not assigned: waiting"),
        (Status(True, False, False, "rebuilding"), "not recovered: rebuilding"),
        (Status(True, True, True, "joining"), "rebalancing: joining"),
        (Status(False, False, True, "x"), "not assigned, not recovered, rebalancing: x"),
    ],
)
async def test_not_ready_says_what_is_missing(cluster: Cluster, state: Status, said: str) -> None:
    (worker,) = await cluster.start()
    assert (await worker.get("/readyz")).json == {"status": "ready", "detail": "4 partitions"}
    worker.tables.state = state
    reply = await worker.get("/readyz")
    assert (reply.status, reply.json["detail"]) == (503, said)
    assert int(reply.headers["Retry-After"]) >= 1
    assert reply.field is None


async def test_counters_name_operations_and_not_what_callers_invent(cluster: Cluster) -> None:
    (worker,) = await cluster.start()
    for path in ("/livez", "/nowhere", "/nowhere/else"):
        await worker.get(path)
    await worker.get("/livez", method="DELETE")
    printed = (await worker.get("/metrics")).body.decode()
    assert worker.metrics.seen == [
        ("livez", 200),
        ("unknown", 404),
        ("unknown", 404),
        ("unknown", 405),
        ("metrics", 200),
    ]
    assert 'replayer_requests_total{operation="unknown",status="404"} 2.0' in printed


async def test_a_wrong_method_is_a_problem_and_names_the_right_ones(cluster: Cluster) -> None:
    (worker,) = await cluster.start()
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        reply = await worker.get("/readyz", method=method)
        assert (reply.status, reply.field) == (405, None)
        assert reply.headers["Allow"] == "GET,HEAD"


async def test_head_is_get_without_its_body(cluster: Cluster) -> None:
    (worker,) = await cluster.start()
    reply = await worker.get("/livez", method="HEAD")
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["Content-Length"] == str(len((await worker.get("/livez")).body))


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/openapi.json", "/nowhere"])
async def test_every_answer_is_sealed(cluster: Cluster, path: str) -> None:
    (worker,) = await cluster.start()
    headers = (await worker.get(path)).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Server"] == "replayer"  # not which version of which server


async def test_unknown_parameters_are_named_and_their_values_are_not(cluster: Cluster) -> None:
    (worker,) = await cluster.start()
    reply = await worker.get("/livez?verbose=sesame")
    assert (reply.status, reply.field) == (400, "verbose")
    assert b"sesame" not in reply.body
    reply = await worker.get("/livez?" + "n" * 300 + "=1")
    assert (reply.status, reply.field) == (400, "n" * 64 + "…")


async def test_too_long_and_too_large(cluster: Cluster) -> None:
    (worker,) = await cluster.start()
    reply = await worker.get("/livez?x=" + "y" * 9000)
    assert (reply.status, reply.field) == (414, None)
    reply = await worker.get("/livez", data=b"x" * (server.MAX_BODY_BYTES + 1))
    assert (reply.status, reply.field) == (413, None)


async def test_a_failing_view_is_a_problem_and_its_log_line_quotes_nothing(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (worker,) = await cluster.start()

    def broken() -> Status:
        raise RuntimeError("payload: my secret")

    monkeypatch.setattr(worker.tables, "status", broken)
    reply = await worker.get("/readyz", headers={"Authorization": "Bearer my-token"})
    assert (reply.status, reply.field) == (500, None)
    printed = "".join(capsys.readouterr())
    assert "RuntimeError" in printed
    assert "broken" in printed  # where
    assert "secret" not in printed + reply.body.decode()
    assert "my-token" not in printed


UNREADABLE = [
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer my-token\x00\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\nAuthorization : Bearer my-token\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nX: " + b"my-token" * 2000 + b"\r\n\r\n",
    b"GET /\xff\xfe?my-token HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nmy-token\r\n\r\n",  # not alone on its connection
    b"\x16\x03\x01 my-token\r\n\r\n",
]


@pytest.mark.parametrize("sent", UNREADABLE, ids=range(len(UNREADABLE)))
async def test_what_is_no_http_is_a_problem_that_repeats_nothing(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    (worker,) = await cluster.start()
    with caplog.at_level(logging.DEBUG), capture_logs() as said:
        answer = await raw(worker.url, sent)
    head, _, body = answer[answer.index(b" 400 ") :].partition(b"\r\n\r\n")
    for header in (b"Content-Type: application/problem+json", b"Server: replayer", b"Cache-Control: no-store"):
        assert header in head
    assert orjson.loads(body)["type"] == "urn:replayer:problem:bad-request"
    assert worker.metrics.seen[-1] == ("unknown", 400)
    (line,) = said
    assert (line["event"], line["log_level"]) == ("a request could not be read", "debug")  # not ours to be flooded by
    assert b"my-token" not in answer
    assert "my-token" not in f"{said}{caplog.text}"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_middleware_that_fails_is_a_problem_and_its_log_line_quotes_nothing(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (worker,) = await cluster.start()
    seen = []

    def answered(operation: str, status: int, seconds: float) -> None:
        seen.append((operation, status))
        if operation == "livez":
            raise RuntimeError("payload: my secret")

    monkeypatch.setattr(worker.metrics, "answered", answered)
    reply = await worker.get("/livez")
    assert (reply.status, reply.field) == (500, None)
    assert seen == [("livez", 200), ("unknown", 500)]
    printed = "".join(capsys.readouterr())
    assert "RuntimeError" in printed
    assert "secret" not in printed + reply.body.decode()


def test_what_else_a_connection_logs_is_without_bytes(caplog: pytest.LogCaptureFixture) -> None:
    log = server.web_application_options(Settings(), CountingMetrics())["handler_args"]["logger"]
    try:
        raise ValueError("my-token")
    except ValueError:
        log.exception("Unhandled exception: %s", "my-token")
    assert [record.getMessage() for record in caplog.records] == ["a connection failed: ValueError"]
    assert "my-token" not in caplog.text


async def test_problems_say_their_kind_to_programs() -> None:
    response = Problem(503, "not-ready", "wait", field=None, headers={"Retry-After": "2"}).response()
    assert isinstance(response, web.Response)
    assert response.body == (
        b'{"type":"urn:replayer:problem:not-ready","title":"Not ready","status":503,"detail":"wait"}'
    )


def test_without_tokens_only_loopback() -> None:
    """The settings refuse it; so does the server, for settings that were made some other way."""
    open_to_all = Settings.model_construct(web_host="0.0.0.0", tokens=())
    with pytest.raises(SettingsError, match="REPLAYER_TOKENS"):
        server.web_application_options(open_to_all, CountingMetrics())
    with pytest.raises(SettingsError, match="REPLAYER_TOKENS"):
        server.attach(None, FakeTables(World(), ""), open_to_all, CountingMetrics())
    for loopback in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        server.web_application_options(Settings(web_host=loopback), CountingMetrics())


async def raw(url: str, request: bytes) -> bytes:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    async with asyncio.timeout(30):
        answer = await reader.read()  # to the end: a refusal closes the connection
    writer.close()
    await writer.wait_closed()
    return answer
