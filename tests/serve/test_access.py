"""Tokens, roles, the rate limit, and the guard of a server without tokens."""

from __future__ import annotations

import hashlib
import hmac
from itertools import product
from typing import Any

import pytest

from replayer.serve import auth, routes
from replayer.serve.auth import Caller, Role
from replayer.serve.limit import CallerLimit
from replayer.serve.problems import Problem
from replayer.settings import Token
from tests.serve.conftest import Clock
from tests.serve.serve_cluster import Cluster

SECRETS = {role.value: f"secret-of-{role.value}" for role in Role}
TOKENS = tuple(
    Token(name=f"the-{role}", role=role, sha256=hashlib.sha256(secret.encode()).hexdigest())
    for role, secret in SECRETS.items()
)
GUARDED = ["/metrics", "/openapi.json", "/nowhere"]


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def test_probes_need_no_token(cluster: Cluster) -> None:
    (worker,) = await cluster.start(tokens=TOKENS)
    assert (await worker.get("/livez")).status == 200
    assert (await worker.get("/readyz")).status == 200


@pytest.mark.parametrize("path", GUARDED)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic " + SECRETS["admin"]},
        {"Authorization": SECRETS["admin"]},
        bearer(SECRETS["admin"] + "x"),
        bearer(TOKENS[3].sha256),  # the hash is no key
        bearer("sécret"),
    ],
)
async def test_everything_else_does(cluster: Cluster, path: str, headers: dict[str, str]) -> None:
    (worker,) = await cluster.start(tokens=TOKENS)
    reply = await worker.get(path, headers=headers)
    assert (reply.status, reply.field) == (401, None)
    assert reply.headers["WWW-Authenticate"].startswith('Bearer realm="replayer"')
    for secret in headers.values():
        assert not secret or secret.encode() not in reply.body


async def test_two_authorizations_are_none(cluster: Cluster) -> None:
    (worker,) = await cluster.start(tokens=TOKENS)
    twice: Any = [("Authorization", "Bearer " + SECRETS["admin"]), ("Authorization", "Bearer x")]
    assert (await worker.get("/metrics", headers=twice)).status == 401


@pytest.mark.parametrize("role", list(Role))
async def test_every_role_reads(cluster: Cluster, role: Role) -> None:
    (worker,) = await cluster.start(tokens=TOKENS)
    assert (await worker.get("/openapi.json", headers=bearer(SECRETS[role]))).status == 200
    assert (await worker.get("/openapi.json", headers={"Authorization": "bearer " + SECRETS[role]})).status == 200
    assert (await worker.get("/nowhere", headers=bearer(SECRETS[role]))).status == 404


def test_rights() -> None:
    allowed = {(role, needed) for role, needed in product(Role, Role) if Caller("x", role).may(needed)}
    assert allowed == {
        *((role, Role.READER) for role in Role),
        *((Role.ADMIN, needed) for needed in Role),
        (Role.INVESTIGATOR, Role.INVESTIGATOR),
        (Role.CONTENT, Role.CONTENT),
    }


async def test_a_right_that_is_missing_is_named(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "BY_NAME", {"metrics": _needing(Role.INVESTIGATOR)})
    (worker,) = await cluster.start(tokens=TOKENS)
    assert (await worker.get("/metrics", headers=bearer(SECRETS["investigator"]))).status == 200
    assert (await worker.get("/metrics", headers=bearer(SECRETS["admin"]))).status == 200
    for role in ("reader", "content"):
        reply = await worker.get("/metrics", headers=bearer(SECRETS[role]))
        assert reply.status == 403
        assert "investigator" in reply.json["detail"]
        assert 'scope="investigator"' in reply.headers["WWW-Authenticate"]


def _needing(role: Role) -> Any:
    operation = routes.BY_NAME["metrics"]
    return type(operation)(
        name=operation.name,
        path=operation.path,
        summary=operation.summary,
        handler=operation.handler,
        answer=operation.answer,
        needs=role,
    )


def test_every_token_is_compared_with_whatever_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(auth.hmac, "compare_digest", lambda a, b: compared.append(1) or real(a, b))
    tokens = auth.Tokens(TOKENS)
    assert tokens.caller("Bearer " + SECRETS["reader"]) == Caller("token:the-reader", Role.READER)
    assert tokens.caller("Bearer nobody's") is None
    assert len(compared) == 2 * len(TOKENS)


async def test_an_open_server_answers_only_names_of_this_machine(cluster: Cluster) -> None:
    """A web page whose name was rebound to 127.0.0.1 reaches the port, but sends its own name."""
    (worker,) = await cluster.start()
    for name in ("localhost", "localhost:6066", "127.0.0.1:6066", "[::1]:6066", "app.localhost"):
        assert (await worker.get("/metrics", headers={"Host": name})).status == 200, name
    for name in ("evil.example", "evil.example:6066", "localhost.evil.example", "127.0.0.1.evil.example", ":::", ""):
        reply = await worker.get("/metrics", headers={"Host": name})
        assert (reply.status, reply.field) == (421, None), name


async def test_with_tokens_any_name_will_do(cluster: Cluster) -> None:
    (worker,) = await cluster.start(tokens=TOKENS)
    headers = {"Host": "replayer.example", **bearer(SECRETS["reader"])}
    assert (await worker.get("/metrics", headers=headers)).status == 200


@pytest.mark.usefixtures("clock")
async def test_one_caller_too_often_and_another_still_served(cluster: Cluster) -> None:
    (worker,) = await cluster.start(tokens=TOKENS, rate_limit_per_s=5)
    replies = [await worker.get("/openapi.json", headers=bearer(SECRETS["reader"])) for _ in range(12)]
    refused = [reply for reply in replies if reply.status == 429]
    assert len(refused) == 12 - 5
    assert all(1 <= int(reply.headers["Retry-After"]) <= 2 and reply.field is None for reply in refused)
    assert (await worker.get("/openapi.json", headers=bearer(SECRETS["content"]))).status == 200
    assert [(await worker.get("/livez")).status for _ in range(12)] == [200] * 12


@pytest.mark.usefixtures("clock")
async def test_each_worker_counts_for_itself(cluster: Cluster) -> None:
    workers = await cluster.start(2, tokens=TOKENS, rate_limit_per_s=5)
    statuses = [(await workers[0].get("/openapi.json", headers=bearer(SECRETS["reader"]))).status for _ in range(6)]
    assert statuses == [200] * 5 + [429]
    assert (await workers[1].get("/openapi.json", headers=bearer(SECRETS["reader"]))).status == 200


@pytest.mark.usefixtures("clock")
async def test_guessing_tokens_is_limited_too(cluster: Cluster) -> None:
    (worker,) = await cluster.start(tokens=TOKENS, rate_limit_per_s=5)
    statuses = [(await worker.get("/metrics", headers=bearer(f"guess-{n}"))).status for n in range(20)]
    assert statuses == [401] * 5 + [429] * 15


async def test_the_limit_lets_go_again_when_it_said(clock: Clock) -> None:
    limit = CallerLimit(2)
    for _ in range(2):
        await limit.spend("ann")
    with pytest.raises(Problem) as refused:
        await limit.spend("ann")
    wait_s = int(refused.value.headers["Retry-After"])
    assert wait_s >= 1
    clock.now += wait_s
    await limit.spend("ann")
