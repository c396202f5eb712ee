"""The index through real workers: each finds what was used, through a kill, and tells nothing that must not be told."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import orjson
import pytest
from aiokafka import TopicPartition

from replayer.core.glimpse import glimpse
from replayer.kafka.admin import LogAdmin
from replayer.kafka.reader import LogReader
from replayer.serve.routes import OPERATIONS
from tests.core.timelines import at
from tests.drawn import full
from tests.e2e.roles import Role, command, environment, running, until
from tests.e2e.test_foreign import foreign_topic, make
from tests.e2e.test_worker import Sent, dead_letters, publish
from topics.catalogue import REPLAY_PROGRESS, REPLAY_RESULTS, TEMPLATE_USAGE
from topics.codec import decode
from topics.events import MODELS, topic_of
from topics.projection import project

pytestmark = pytest.mark.broker

CANARY = "canary-9d21-do-not-tell"
WORKFLOWS = 12
TURNS = 3


def event(tag: str, workflow: str, event_type: str, number: int) -> dict[str, Any]:
    """With every field, those that must not be shown full of canaries, and what is used named `tag`."""
    raw = orjson.dumps(full(MODELS[event_type], CANARY)).replace(b'"shown"', orjson.dumps(tag))
    return orjson.loads(raw) | {
        "event_type": event_type, "schema_version": 1, "event_id": f"{event_type}-{number}", "workflow_id": workflow,
        "tenant_id": "acme", "decision_id": f"d{number % 2}", "occurred_at": at(number),
    }  # fmt: skip


def told(tag: str) -> list[dict[str, Any]]:
    return [
        event(tag, f"{tag}-w{workflow}", event_type, turn * WORKFLOWS + workflow)
        for turn in range(TURNS)
        for workflow in range(WORKFLOWS)
        for event_type in sorted(MODELS)
    ]


def sent(events: list[dict[str, Any]]) -> list[Sent]:
    return [(topic_of(one["event_type"]), one["workflow_id"].encode(), orjson.dumps(one), None) for one in events]


def used(events: list[dict[str, Any]]) -> Counter[bytes]:
    """How often each thing was used or touched, as the events say one by one."""
    seen = (glimpse(project(decode(orjson.dumps(one)))) for one in events)
    return Counter(
        named for one in seen if one for named in (*(() if one.used is None else (one.used[0],)), *one.touched)
    )


def fetched(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def pages(worker: Role, path: str, **query: str) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        asked = urlencode(query | ({} if cursor is None else {"cursor": cursor}))
        status, body = worker.answer(f"{path}?{asked}")
        assert status == 200, body
        yield from body["items"]
        cursor = body["next_cursor"]
        if cursor is None:
            return


async def values(broker: str, topic: str) -> list[bytes]:
    """Keys and values of all records of a topic."""
    async with LogAdmin([broker]) as admin:
        (count,) = (await admin.partitions([topic])).values()
        tps = [TopicPartition(topic, number) for number in range(count)]
        begins, ends = await admin.begin_offsets(tps), await admin.end_offsets(tps)
    async with LogReader([broker]) as reader:
        return [
            (record.key or b"") + (record.value or b"")
            async for batch in reader.read({tp: (begins[tp], ends[tp]) for tp in tps})
            for record in batch.records
        ]


def test_two_workers_index_what_was_used_through_a_kill_and_tell_nothing_else(
    broker: str, unique: Callable[[str], str], tmp_path: Path
) -> None:
    tag = unique("index")
    events = told(tag)
    assert all(CANARY in str(one) for one in events)
    half = len(events) // 2
    workers = [
        Role("worker", environment(
            broker, tag, tmp_path / f"data-{number}", SESSION_TIMEOUT_S="3", HEARTBEAT_INTERVAL_S="0.5",
            INSTANCE_ID=f"i{number}", RATE_LIMIT_PER_S="1000", FOREIGN_TOPICS=foreign(tag),
        ), tmp_path / f"log-{number}")
        for number in range(2)
    ]  # fmt: skip
    version = f"/v1/templates/{tag}/versions/{tag}"
    expected = used(events)
    template = expected[b"t%b\0%b\0" % (tag.encode(), tag.encode())]
    assert template == 2 * WORKFLOWS * TURNS  # completed and failed

    def counted() -> list[Any]:
        return [body["uses"] if status == 200 else 0 for status, body in (one.get(version) for one in workers)]

    investigator = Role(
        "investigator", environment(broker, tag, tmp_path / "apart", FOREIGN_TOPICS=foreign(tag)), tmp_path / "log"
    )
    asyncio.run(make(broker, foreign_topic(f"{tag}-calls", 3)))
    command(workers[0].environment, "topics", "create")
    asyncio.run(publish(broker, others(tag)))
    with running(*workers):
        asyncio.run(publish(broker, sent(events[:half])))
        workers[1].kill()
        asyncio.run(publish(broker, sent(events[half:])))
        bad = asyncio.run(publish(broker, [(topic_of("tool.call_failed"), b"k", f'{{"{CANARY}'.encode(), 0)]))
        workers[1].start()
        until(workers[1].ready, "the killed one is back")
        until(lambda: counted() == [template] * 2, "every use is counted", lambda: str(counted()))

        decisions = sorted({(one["workflow_id"], one["decision_id"]) for one in events})

        evaluations = expected[b"p%b\0%b\0" % (tag.encode(), tag.encode())]

        def caught_up(worker: Role) -> bool:
            """Each thing is folded by itself: what is counted of one says nothing of another."""
            for what in ({"tool": tag, "tool_version": tag}, {"document_id": tag}, {"index": tag}):
                touched = pages(worker, "/v1/decisions", limit="7", **what)
                if sorted((one["workflow_id"], one["decision_id"]) for one in touched) != decisions:
                    return False
            return len(list(pages(worker, f"/v1/policies/{tag}/outcomes", limit="7"))) == evaluations

        for worker in workers:
            found = list(pages(worker, f"{version}/decisions", limit="5"))
            assert sorted((one["workflow_id"], one["decision_id"]) for one in found) == decisions
            assert [one["first_used_at"] for one in found] == sorted(one["first_used_at"] for one in found)
            until(partial(caught_up, worker), "all that was touched, and every evaluation")
        answers = [
            [one.answer(path)[1] for path in (version, f"/v1/templates/{tag}", f"/v1/policies/{tag}")]
            for one in workers
        ]
        assert answers[0] == answers[1]

        letters = asyncio.run(dead_letters(broker))
        assert [len(letters[one]) for one in bad] == [1]
        theirs = list(pages(workers[0], "/v1/decisions", tool=f"{tag}-theirs"))
        assert [one["workflow_id"] for one in theirs] == [f"{tag}-w0"]
        with running(investigator):
            replayed = command(
                workers[0].environment, "replay", "start", "--workflow", f"{tag}-w0", "--tenant", "acme", "--id", tag,
                "--name", "INC-9", "--purpose", "a test", "--wait", "--url", workers[0].url, "--json",
            )  # fmt: skip
            assert (replayed["state"], replayed["matched"]) == ("COMPLETED", len(events) // WORKFLOWS + 3)
        for worker in workers:
            for path in every_path(tag):
                status, body = fetched(worker.url + path)
                assert CANARY not in body, (path, status)
                assert status == 200 or "{replay_id}" in path or "replays" in path, (path, body)
        assert [one.stop() for one in workers] == [0, 0]
    for headers in (headers for found in letters.values() for _, headers in found):
        assert CANARY.encode() not in b"".join(headers.values())
    for topic in (
        TEMPLATE_USAGE.name, REPLAY_RESULTS.name, REPLAY_PROGRESS.name, f"{tag}-timelines-changelog",
        f"{tag}-templates-changelog", f"{tag}-replays-changelog", f"{tag}-relay-{tag}-calls-changelog",
    ):  # fmt: skip
        kept = asyncio.run(values(broker, topic))
        assert kept, topic
        assert not any(CANARY.encode() in one for one in kept), topic
    for role in (*workers, investigator):
        assert CANARY not in role.log.read_text()


def foreign(tag: str) -> str:
    """JSON of others, of which some must not be shown, some is not even mapped."""
    fields = {
        "event_type": "'tool.call_completed'", "event_id": "position()", "workflow_id": "run",
        "occurred_at": "timestamp()", "tenant_id": "'acme'", "source": "'theirs'", "agent_id": "'theirs'",
        "data.call_id": "key()", "data.tool_name": f"'{tag}-theirs'", "data.result": "answer",
    }  # fmt: skip
    return orjson.dumps([{"topic": f"{tag}-calls", "partitions": 3, "events": [{"fields": fields}]}]).decode()


def others(tag: str) -> list[Sent]:
    """Three events, and two records of which no event comes."""
    call = {"run": f"{tag}-w0", "answer": CANARY, "prompt": CANARY}
    values = [call, call, call, {"prompt": CANARY}, {**call, "run": [CANARY]}]
    return [(f"{tag}-calls", b"c%d" % n, orjson.dumps(value), n % 3) for n, value in enumerate(values)]


def every_path(tag: str) -> list[str]:
    """Each operation there is, asked for what this test has told of."""
    names = {
        "workflow_id": f"{tag}-w0", "decision_id": "d0", "event_id": "policy.evaluated-0", "template_id": tag,
        "version": tag, "policy_id": tag, "replay_id": tag,
    }  # fmt: skip
    queries = {"compare_templates": [{"a": tag, "b": tag}], "touched_decisions": [
        {"tool": tag}, {"model": f"{tag}/{tag}"}, {"document_id": tag}, {"index": tag},
    ], "events": [{"correlation_id": tag}]}  # fmt: skip
    found = []
    for operation in OPERATIONS:
        path = operation.path.format(**{name: quote(value, safe="") for name, value in names.items()})
        tenant = {"tenant": "acme"} if "{workflow_id}" in operation.path else {}
        found += [f"{path}?{urlencode(tenant | query)}" for query in queries.get(operation.name, [{}])]
    return found
