"""Topics keyed otherwise, dealt out otherwise, of other people's JSON: their events stand in timelines, each once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replayer.kafka.admin import LogAdmin
from tests.e2e.roles import Role, command, environment, running, until
from tests.e2e.test_worker import Sent, dead_letters, policy, publish
from topics import deadletter
from topics.catalogue import Topic
from topics.classification import Classification

pytestmark = pytest.mark.broker

FIELDS = {
    "event_type": "'tool.call_completed'", "event_id": "position()", "workflow_id": "run.id",
    "occurred_at": "from_ms(at)", "tenant_id": "header('tenant') || 'acme'", "source": "'crawler'",
    "agent_id": "'crawler'", "data.call_id": "key()", "data.tool_name": "tool", "data.latency_ms": "took",
}  # fmt: skip


def foreign_topic(name: str, partitions: int) -> Topic:
    return Topic(name, "something else", "JSON", Classification.INTERNAL, partitions)


async def make(broker: str, *topics: Topic) -> None:
    async with LogAdmin([broker]) as admin:
        await admin.create(topics)


def test_what_is_keyed_otherwise_stands_in_timelines_once(
    broker: str, unique: Callable[[str], str], tmp_path: Path
) -> None:
    tag = unique("foreign")
    otherwise, calls = f"{tag}-otherwise", f"{tag}-calls"
    workflows = [f"{tag}-w{number}" for number in range(7)]
    told: list[Sent] = []
    for number in range(210):
        workflow = workflows[number % len(workflows)]
        call = {"run": {"id": workflow}, "at": 1_738_324_800_000 + number, "tool": "search", "took": 5}
        told.append((otherwise, b"rating-%d" % number, policy(workflow, f"e{number}"), number % 3))
        told.append((calls, b"call-%d" % number, json.dumps(call).encode(), number % 5))
    bad: list[Sent] = [
        (calls, b"k", b'{"run": 7}', 4),
        (calls, b"k", b"\xff", 4),
        (otherwise, b"k", b'{"event_type": "nobody.knows"}', 2),
    ]
    settings = environment(
        broker, tag, tmp_path / "data", SESSION_TIMEOUT_S="3", HEARTBEAT_INTERVAL_S="0.5", INSTANCE_ID="one",
        RATE_LIMIT_PER_S="1000",
        FOREIGN_TOPICS=json.dumps([
            {"topic": otherwise, "partitions": 3},
            {"topic": calls, "partitions": 5, "events": [{"fields": FIELDS}]},
        ]),
    )  # fmt: skip
    asyncio.run(make(broker, foreign_topic(otherwise, 3), foreign_topic(calls, 5)))
    command(settings, "topics", "create")
    command(settings, "topics", "check")
    worker = Role("worker", settings, tmp_path / "log")
    apart = environment(broker, tag, tmp_path / "apart", INVESTIGATOR_MAX_CONCURRENT="20")
    investigator = Role("investigator", settings | apart, tmp_path / "investigator.log")

    def counted() -> list[int]:
        return [
            body["events"] if status == 200 else 0
            for status, body in (worker.get(f"/v1/workflows/{workflow}?tenant=acme") for workflow in workflows)
        ]

    with running(worker):
        where = asyncio.run(publish(broker, [*told[:200], *bad]))[-len(bad) :]
        worker.kill()
        worker.start()
        asyncio.run(publish(broker, told[200:]))
        until(lambda: counted() == [60] * len(workflows), "every event in its timeline", lambda: str(counted()))
        letters = asyncio.run(dead_letters(broker))
        for at, (_, key, value, _), reason in zip(
            where, bad, (deadletter.UNMAPPED, deadletter.UNDECODABLE, deadletter.INVALID), strict=True
        ):
            ((kept, headers),) = letters[at]
            assert (kept, headers[deadletter.REASON].decode()) == (value, reason), key
        items = timeline(worker, workflows[0])
        with running(investigator):  # what was keyed anew is replayed as it is folded
            replayed = command(
                settings, "replay", "start", "--workflow", workflows[0], "--tenant", "acme", "--id", tag,
                "--name", "INC-8", "--purpose", "a test", "--wait", "--url", worker.url, "--json",
            )  # fmt: skip
        assert (replayed["state"], replayed["matched"]) == ("COMPLETED", 60)
        assert worker.stop() == 0
    assert len({item["event_id"] for item in items}) == 60
    assert {item["position"]["topic"] for item in items} == {otherwise, calls}
    for item in items:
        if item["position"]["topic"] == calls:
            assert item["event_id"] == "{topic}/{partition}/{offset}".format_map(item["position"])


def test_partitions_that_a_foreign_topic_is_given_are_read_when_the_worker_starts_again(
    broker: str, unique: Callable[[str], str], tmp_path: Path
) -> None:
    tag = unique("grown")
    settings = environment(
        broker, tag, tmp_path / "data", INSTANCE_ID="one", RATE_LIMIT_PER_S="1000",
        FOREIGN_TOPICS=json.dumps([{"topic": tag, "partitions": 2}]),
    )  # fmt: skip
    asyncio.run(make(broker, foreign_topic(tag, 2)))
    command(settings, "topics", "create")
    worker = Role("worker", settings, tmp_path / "log")

    def counted() -> int:
        status, body = worker.get(f"/v1/workflows/{tag}?tenant=acme")
        return int(body["events"]) if status == 200 else 0

    with running(worker):
        asyncio.run(publish(broker, [(tag, b"k", policy(tag, f"e{number}"), number % 2) for number in range(10)]))
        until(lambda: counted() == 10, "what was there before", worker.tail)
        asyncio.run(grow(broker, tag, 4))
        asyncio.run(publish(broker, [(tag, b"k", policy(tag, f"e{number}"), number % 4) for number in range(10, 30)]))
        assert worker.stop() == 0
        assert "a worker gives it as many when it starts" in refused(settings)
        worker.start()
        until(lambda: counted() == 30, "what is in the partitions it was given", worker.tail)
        assert "a foreign topic was given partitions" in worker.since_start()
        command(settings, "topics", "check")
        assert worker.stop() == 0


async def grow(broker: str, topic: str, partitions: int) -> None:
    async with LogAdmin([broker]) as admin:
        await admin.grow(topic, partitions)


def refused(settings: dict[str, str]) -> str:
    found = command(settings, "topics", "check", "--json", code=1)
    return " ".join(found["problems"])


def timeline(worker: Role, workflow: str) -> list[dict[str, Any]]:
    status, body = worker.answer(f"/v1/workflows/{workflow}/timeline?tenant=acme&limit=100")
    assert status == 200
    items: list[dict[str, Any]] = body["items"]
    return items
