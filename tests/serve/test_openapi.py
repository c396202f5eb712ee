"""The description is true: every route is in it and it names no other, and what is answered is what it promises."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import inspect
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
import schemathesis
from aiohttp import web
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from replayer.serve import auth, limit, middleware
from replayer.serve.openapi import document
from replayer.serve.routes import OPERATIONS
from replayer.serve.server import MAX_BODY_BYTES
from replayer.settings import Token
from tests.serve.serve_cluster import Cluster, Worker
from tests.serve.serve_data import simulate
from tests.serve.serve_replays import tell

TOKEN = Token(name="ann", role="reader", sha256=hashlib.sha256(b"ann's").hexdigest())


async def test_every_route_is_described_and_nothing_else_is(cluster: Cluster) -> None:
    (worker,) = await cluster.start()
    routed = {
        (route.method, re.sub(r"\{(\w+):[^{}]*\}", r"{\1}", route.resource.canonical))
        for route in worker.app.web.web_app.router.routes()
    }
    described = {
        (method.upper(), path)
        for path, methods in (await worker.get("/openapi.json")).json["paths"].items()
        for method in methods
    }
    assert routed == described | {("HEAD", path) for method, path in described if method == "GET"}
    assert len(described) == 21


@pytest.mark.parametrize("tokens", [False, True])
def test_it_is_well_formed(tokens: bool) -> None:
    said = document(OPERATIONS, tokens=tokens)
    assert orjson.loads(orjson.dumps(said)) == said
    for schema in said["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    names = [operation["operationId"] for path in said["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))
    for reference in set(re.findall(r'"#/[^"]+"', orjson.dumps(said).decode())):
        found = said
        for step in reference.strip('"').split("/")[1:]:
            found = found[step]
    for path, methods in said["paths"].items():
        for operation in methods.values():
            placed = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
            assert placed == set(re.findall(r"\{(\w+)\}", path))
            guarded = path not in ("/livez", "/readyz")
            assert ("401" in operation["responses"]) == (tokens and guarded)
            assert ("security" in operation) == (tokens and guarded)


def test_parameters_are_those_the_handlers_read() -> None:
    said = document(OPERATIONS, tokens=False)
    for operation in OPERATIONS:
        described = said["paths"][operation.path]["get"]["parameters"]
        stated = {field.alias or name for name, field in operation.query.model_fields.items()}
        assert {parameter["name"] for parameter in described if parameter["in"] == "query"} == stated
        for parameter in described:
            assert parameter["schema"].get("type") in ("string", "integer") or "enum" in parameter["schema"]
    (limit,) = [p for p in said["paths"]["/v1/workflows"]["get"]["parameters"] if p["name"] == "limit"]
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}


def test_whatever_stands_around_the_views_refuses_is_described() -> None:
    """The statuses are read from the source: one that is added there and not described turns this red."""
    raised = set()
    for module in (middleware, auth, limit):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Problem":
                assert isinstance(node.args[0], ast.Constant), "Problem's status is written where it is raised"
                raised.add(node.args[0].value)
            elif isinstance(node, ast.Attribute) and node.attr.startswith("HTTP") and node.attr != "HTTPException":
                raised.add(getattr(web, node.attr).status_code)
    assert raised == {401, 403, 413, 414, 421, 429, 500}
    described = set()
    for tokens in (False, True):
        said = document(OPERATIONS, tokens=tokens)
        described |= {int(status) for status in said["paths"]["/v1/workflows"]["get"]["responses"]}
    assert raised <= described


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("tokens", [(), (TOKEN,)])
async def test_every_operation_describes_what_stands_before_it(cluster: Cluster, tokens: tuple[Token, ...]) -> None:
    (worker,) = await cluster.start(tokens=tokens, rate_limit_per_s=1)
    said = document(OPERATIONS, tokens=bool(tokens))
    seen = set()
    for path, methods in said["paths"].items():
        for asked, sent in (
            (path, {"data": b"x" * (MAX_BODY_BYTES + 1)}),
            (f"{path}?x={'y' * 9000}", {}),
            (path, {"headers": {"Host": "evil.example"}}),
            (path, {}),
            (path, {}),
        ):
            status = (await worker.get(asked, **sent)).status
            seen.add(status)
            assert str(status) in methods["get"]["responses"], (path, status)
    assert seen >= {413, 414, 429, *({401} if tokens else {421})}


async def index_paths(worker: Worker) -> list[str]:
    """Each view over the index, of something that is in it."""
    (template, *_) = (await worker.get("/v1/templates")).json["items"]
    named, version = f"/v1/templates/{template['template_id']}", template["versions"][0]
    (decision, *_) = (await worker.get(f"{named}/versions/{version}/decisions")).json["items"]
    tenant, workflow = decision["tenant_id"], decision["workflow_id"]
    events = (await worker.get(f"/v1/workflows/{workflow}/timeline?tenant={tenant}")).json["items"]
    (model, *_) = [
        f"{one['data']['provider']}/{one['data']['model']}" for one in events if one["family"] == "model-invocations"
    ]
    return [
        "/v1/templates",
        named,
        f"{named}/versions/{version}",
        f"{named}/versions/{version}/decisions?limit=3",
        f"{named}/compare?a={version}&b={version}",
        "/v1/policies/support-output",
        "/v1/policies/support-output/outcomes",
        f"/v1/decisions?model={model}",
    ]


async def test_real_answers_are_what_it_promises(cluster: Cluster) -> None:
    workers = await cluster.start(2)
    simulate(cluster.world)
    for upto in range(1, 6):
        tell(cluster, f"r-{upto}", upto)
    said = (await workers[0].get("/openapi.json")).json
    listed = (await workers[0].get("/v1/workflows?limit=1000")).json["items"]
    paths = ["/livez", "/readyz", "/v1/workflows", *(f"/v1/replays/r-{upto}" for upto in range(1, 6))]
    paths += ["/v1/workflows?limit=1", "/v1/workflows?limit=nine", "/v1/replays/nobody", "/v1/workflows/x/timeline"]
    for item in listed[:15]:
        base, tenant = f"/v1/workflows/{item['workflow_id']}", f"?tenant={item['tenant_id']}"
        paths += [base + tenant, f"{base}/timeline{tenant}&limit=3", f"{base}/decisions{tenant}"]
        ids = [
            decision["decision_id"] for decision in (await workers[1].get(f"{base}/decisions{tenant}")).json["items"]
        ]
        paths += [f"{base}/decisions/{decision_id}{tenant}" for decision_id in ids if decision_id]
        (first, *_) = (await workers[0].get(f"{base}/timeline{tenant}")).json["items"]
        paths += [f"{base}/calls{tenant}", f"{base}/events/{first['event_id']}/chain{tenant}"]
        paths += [f"/v1/events/{first['event_id']}?trace_id={item['trace_ids'][0]}"]
    paths += await index_paths(workers[0])
    seen = set()
    for path in paths:
        template = template_of(said, path)
        seen.add(template)
        reply = await workers[1].get(path)
        promised = said["paths"][template]["get"]["responses"][str(reply.status)]["content"]
        assert list(promised) == [reply.headers["Content-Type"]]
        check(said, promised[reply.headers["Content-Type"]]["schema"], reply.json)
    assert seen == {path for path in said["paths"] if path not in ("/metrics", "/openapi.json")}


async def test_an_answer_with_a_field_more_or_less_would_be_seen(cluster: Cluster) -> None:
    (worker,) = await cluster.start()
    simulate(cluster.world)
    said = (await worker.get("/openapi.json")).json
    schema = said["paths"]["/v1/workflows"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    answer = (await worker.get("/v1/workflows")).json
    check(said, schema, answer)
    for spoilt in (
        {**answer, "total": 3},
        {"items": answer["items"]},
        {**answer, "items": [{**answer["items"][0], "mood": "good"}]},
        {**answer, "items": [{**answer["items"][0], "status": "bored"}]},
    ):
        with pytest.raises(jsonschema.ValidationError):
            check(said, schema, spoilt)


def template_of(said: dict[str, Any], path: str) -> str:
    (found,) = [
        template
        for template in said["paths"]
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path.partition("?")[0])
    ]
    return str(found)


def check(said: dict[str, Any], schema: dict[str, Any], answer: Any) -> None:
    jsonschema.validate(answer, {**schema, "components": said["components"]}, cls=jsonschema.Draft202012Validator)


# -- any request the description allows or forbids, over sockets


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of one of two servers in an event loop of their own: schemathesis is synchronous."""
    loop, started = asyncio.new_event_loop(), threading.Event()
    cluster = Cluster(Path(tmp_path_factory.mktemp("served")))

    async def start() -> None:
        await cluster.start(2, tokens=(TOKEN,))
        simulate(cluster.world)
        tell(cluster, "r-1", 5)
        started.set()

    def turn() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=turn)
    thread.start()
    assert started.wait(20)
    yield cluster.workers[0].url
    asyncio.run_coroutine_threadsafe(cluster.stop(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)
    loop.close()


REFUSED = {"expected-statuses": [400, 401, 404, 405, 414]}
schema = schemathesis.openapi.from_dict(
    document(OPERATIONS, tokens=True),
    config=schemathesis.Config.from_dict({"checks": {"negative_data_rejection": REFUSED}}),
)


@schema.parametrize()
@settings(max_examples=25, derandomize=True, suppress_health_check=list(HealthCheck))
def test_any_request_is_answered_as_described(case: Any, served: str) -> None:
    case.headers = {**(case.headers or {}), "Authorization": "Bearer ann's"}
    case.call_and_validate(
        base_url=served,
        checks=[
            not_a_server_error,
            checks.status_code_conformance,
            checks.content_type_conformance,
            checks.response_schema_conformance,
            checks.negative_data_rejection,
            checks.unsupported_method,
        ],
    )
