"""Every way of asking wrongly: what is not there is a 404, what cannot be asked a 400 that names the field."""

from __future__ import annotations

import pytest

from tests.serve.serve_cluster import Cluster
from tests.serve.serve_data import Log
from tests.serve.serve_story import story, told


@pytest.mark.parametrize(
    "path",
    [
        "/v1/workflows/nobody?tenant=acme",
        "/v1/workflows/nobody/timeline?tenant=acme",
        "/v1/workflows/nobody/decisions?tenant=acme",
        "/v1/workflows/nobody/decisions/d-1?tenant=acme",
        "/v1/workflows/w-1/decisions/nothing?tenant=acme",
        "/v1/workflows/w-1/?tenant=acme",
        "/v1/workflows//timeline?tenant=acme",
        "/v1/workflows/w-1/secrets?tenant=acme",
        "/v2/workflows",
    ],
)
async def test_what_is_not_there(cluster: Cluster, path: str) -> None:
    worker = await told(cluster)
    reply = await worker.get(path)
    assert (reply.status, reply.field) == (404, None)


async def test_a_decision_that_is_missing_is_not_a_workflow_that_is(cluster: Cluster) -> None:
    worker = await told(cluster)
    for workflow_id, missing in (("nobody", "no such workflow"), ("w-1", "no such decision")):
        reply = await worker.get(f"/v1/workflows/{workflow_id}/decisions/nothing?tenant=acme")
        assert missing in reply.json["detail"]


LISTS = ["/v1/workflows", "/v1/workflows/w-1/timeline?tenant=acme", "/v1/workflows/w-1/decisions?tenant=acme"]
WRONG_LIMITS = ["0", "-1", "1001", "ten", "1.0", "1e2", "%2B5", "1_0", "%205", "%D9%A3", "", "99999999999999999999"]
WRONG_INSTANTS = ["yesterday", "2025-01-31", "2025-01-31T12:00:00", "1738324800", "2025-02-30T00:00:00Z", ""]


def with_query(path: str, query: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}{query}"


# Bare, a surrogate, overlong, beyond Unicode, cut off.
NOT_UTF8 = ["%ff", "a%FFb", "%ED%A0%80", "%C0%AF", "%F4%90%80%80", "%E2%82"]

WRONG = [
    *((with_query(path, f"limit={value}"), "limit") for path in LISTS for value in WRONG_LIMITS),
    *((with_query(path, "cursor=abc"), "cursor") for path in LISTS),
    *((with_query(path, "cursor="), "cursor") for path in LISTS),
    *((with_query(path, "limit=1&limit=2"), "limit") for path in LISTS),
    *((with_query(path, "colour=red"), "colour") for path in LISTS),
    *((with_query(path, f"from={value}"), "from") for path in LISTS[:2] for value in WRONG_INSTANTS),
    *((with_query(path, f"to={value}"), "to") for path in LISTS[:2] for value in WRONG_INSTANTS),
    *((with_query(path, "from=2025-01-31T12:00:00Z&to=2025-01-31T12:00:00Z"), "to") for path in LISTS[:2]),
    ("/v1/workflows?tenant=", "tenant"),
    ("/v1/workflows?tenant=a%00b", "tenant"),
    ("/v1/workflows?tenant=" + "t" * 129, "tenant"),
    ("/v1/workflows?status=done", "status"),
    ("/v1/workflows?status=RUNNING", "status"),
    ("/v1/workflows?trace_id=abc", "trace_id"),
    ("/v1/workflows?trace_id=" + "G" * 32, "trace_id"),
    ("/v1/workflows?agent=", "agent"),
    ("/v1/workflows?correlation_id=%00", "correlation_id"),
    ("/v1/workflows?order=commit", "order"),
    ("/v1/workflows?from_=2025-01-31T12:00:00Z", "from_"),
    ("/v1/workflows/w-1?tenant=acme&limit=1", "limit"),
    ("/v1/workflows/w-1/timeline?tenant=acme&order=sideways", "order"),
    ("/v1/workflows/w-1/timeline?tenant=acme&family=rumours", "family"),
    ("/v1/workflows/w-1/timeline?order=commit", "tenant"),
    ("/v1/workflows/a%00b?tenant=acme", "workflow_id"),
    ("/v1/workflows/" + "w" * 257 + "?tenant=acme", "workflow_id"),
    ("/v1/workflows/w-1/decisions/" + "d" * 129 + "?tenant=acme", "decision_id"),
    *((f"/v1/workflows?agent={value}", "agent") for value in NOT_UTF8),
    *((f"/v1/workflows/w-1/timeline?limit=1&tenant={value}&order=commit", "tenant") for value in NOT_UTF8),
    *((f"/v1/workflows/{value}?tenant=acme", "workflow_id") for value in NOT_UTF8),
    *((f"/v1/workflows/w-1/decisions/{value}?tenant=acme", "decision_id") for value in NOT_UTF8),
    *((f"/v1/replays/{value}", "replay_id") for value in NOT_UTF8),
    ("/livez?%ff=1", "\ufffd"),
]


async def test_wrong_questions_name_the_field(cluster: Cluster) -> None:
    worker = await told(cluster)
    assert len(WRONG) > 80
    for path, field in WRONG:
        reply = await worker.get(path)
        assert (reply.status, reply.field) == (400, field), path
        assert len(reply.json["detail"]) > 10


async def test_an_id_with_a_percent_sign_is_not_asked_for_by_bytes_that_are_no_text(cluster: Cluster) -> None:
    worker = await told(cluster)
    Log(cluster.world).events(story("%ff"))
    assert (await worker.get("/v1/workflows/%25ff?tenant=acme")).json["workflow_id"] == "%ff"
    assert (await worker.get("/v1/workflows/%ff?tenant=acme")).status == 400
    Log(cluster.world).events(story("\ufffd"))
    assert (await worker.get("/v1/workflows/%EF%BF%BD?tenant=acme")).json["workflow_id"] == "\ufffd"


async def test_a_cursor_fits_only_its_own_question(cluster: Cluster) -> None:
    worker = await told(cluster)
    Log(cluster.world).events(story("w-2"))
    cursor = (await worker.get("/v1/workflows/w-1/timeline?tenant=acme&limit=2")).json["next_cursor"]
    assert (await worker.get(f"/v1/workflows/w-1/timeline?tenant=acme&cursor={cursor}")).status == 200
    for path in (
        "/v1/workflows/w-2/timeline?tenant=acme",
        "/v1/workflows/w-1/timeline?tenant=acme&order=commit",
        "/v1/workflows/w-1/timeline?tenant=acme&family=tool-events",
        "/v1/workflows/w-1/timeline?tenant=acme&to=2026-01-31T12:00:00Z",
        "/v1/workflows/w-1/decisions?tenant=acme",
    ):
        reply = await worker.get(f"{path}&cursor={cursor}")
        assert (reply.status, reply.field) == (400, "cursor"), path
    reply = await worker.get(f"/v1/workflows?cursor={cursor}")
    assert (reply.status, reply.field) == (400, "cursor")
