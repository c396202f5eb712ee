"""Workers as processes against a real broker: bad bytes on every topic, two tenants, two workers that answer as one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from replayer.kafka.admin import LogAdmin
from replayer.kafka.partitioner import partition_of
from replayer.kafka.reader import LogReader
from tests import oddrecords
from tests.e2e.roles import Role, command, environment, running, until
from tests.oddrecords import Odd
from topics import deadletter
from topics.catalogue import (
    DEAD_LETTERS,
    DEFAULT_MAX_RECORD_BYTES,
    DEFAULT_PARTITIONS,
    REPLAY_COMMANDS,
    REPLAY_PROGRESS,
    SOURCES,
)
from topics.codec import encode
from topics.families.policy import PolicyEvaluated

pytestmark = pytest.mark.broker

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CANARY = b"canary-4f1c-do-not-tell"
Sent = tuple[str, bytes | None, bytes | None, int | None]  # topic, key, value, partition
At = tuple[str, int, int]


def policy(workflow: str, event: str, tenant: str = "acme") -> bytes:
    return encode(
        PolicyEvaluated(policy_id="pii", outcome="allow"),
        event_id=event,
        workflow_id=workflow,
        occurred_at=datetime(2025, 3, 1, tzinfo=UTC),
        tenant_id=tenant,
        source="guard",
        agent_id="support",
    )


async def publish(broker: str, records: Sequence[Sent]) -> list[At]:
    """One after the other, so that what is behind a bad record in its partition is really behind it.

    Each claims to be of 1970 or of 2100, in turn: only the log's own clock may be believed.
    """
    claims = cycle((1, 4_102_444_800_000))
    producer = AIOKafkaProducer(bootstrap_servers=broker, max_request_size=2 << 20)
    await producer.start()
    try:
        return [
            (topic, done.partition, done.offset)
            for topic, key, value, partition in records
            for done in [await producer.send_and_wait(topic, value, key, partition, next(claims))]
        ]
    finally:
        await producer.stop()


async def publish_odd(broker: str, records: Sequence[tuple[str, int, Odd]]) -> list[At]:
    """What no ordinary client sends and Kafka takes, one after the other."""
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()
    try:
        return [
            (topic, partition, await oddrecords.send(producer, topic, partition, odd))
            for topic, partition, odd in records
        ]
    finally:
        await producer.stop()


async def append_times(broker: str, where: Sequence[At]) -> dict[At, int]:
    """When the log says it got each of these records (ms), as a plain consumer reads it."""
    firsts: dict[TopicPartition, int] = {}
    for topic, partition, offset in where:
        tp = TopicPartition(topic, partition)
        firsts[tp] = min(offset, firsts.get(tp, offset))
    found: dict[At, int] = {}
    consumer = AIOKafkaConsumer(bootstrap_servers=broker)
    await consumer.start()
    try:
        consumer.assign(list(firsts))
        for tp, offset in firsts.items():
            consumer.seek(tp, offset)
        async with asyncio.timeout(60):
            while not set(where) <= found.keys():
                for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                    assert {record.timestamp_type for record in records} <= {1}, "not the log's own time"
                    found |= {(*tp, record.offset): record.timestamp for record in records}
    finally:
        await consumer.stop()
    return found


def assert_commit_times(items: Sequence[dict[str, Any]], times: Mapping[At, int]) -> None:
    """An event's commit_ts is its append time, or a microsecond after the event folded before it if that is later."""
    latest_us = 0
    for item in sorted(items, key=lambda item: str(item["commit_ts"])):
        at = item["position"]
        latest_us = max(times[at["topic"], at["partition"], at["offset"]] * 1000, latest_us + 1)
        assert (datetime.fromisoformat(item["commit_ts"]) - EPOCH) // timedelta(microseconds=1) == latest_us


async def dead_letters(broker: str) -> dict[At, list[tuple[bytes | None, dict[str, bytes]]]]:
    """Every dead letter by the position it came from: its value and headers."""
    partitions = [TopicPartition(DEAD_LETTERS.name, number) for number in range(DEFAULT_PARTITIONS)]
    found: dict[At, list[tuple[bytes | None, dict[str, bytes]]]] = {}
    async with LogAdmin([broker]) as admin:
        begin, end = await admin.begin_offsets(partitions), await admin.end_offsets(partitions)
    async with LogReader([broker]) as reader:
        async for batch in reader.read({tp: (begin[tp], end[tp]) for tp in partitions}):
            for record in batch.records:
                headers = dict(record.headers)
                at = (
                    headers[deadletter.TOPIC].decode(),
                    int(headers[deadletter.PARTITION]),
                    int(headers[deadletter.OFFSET]),
                )
                found.setdefault(at, []).append((record.value, headers))
    return found


def test_any_bytes_on_any_topic_are_a_dead_letter_and_the_next_offset_is_processed(
    broker: str, unique: Callable[[str], str], tmp_path: Path
) -> None:
    tag = unique("bad")
    workflow = f"{tag}-w"
    home = partition_of(workflow.encode(), DEFAULT_PARTITIONS)
    bad: list[tuple[bytes | None, str]] = [
        (b"\xff\xfe" + CANARY, deadletter.UNDECODABLE),
        (b"", deadletter.UNDECODABLE),
        (None, deadletter.UNDECODABLE),
        (b"[" * 100_000, deadletter.UNDECODABLE),
        (b'{"n":' + b"9" * 10_000 + b"}", deadletter.UNDECODABLE),
        (b'{"event_id":NaN}', deadletter.UNDECODABLE),
        (b'{"prompt":"' + CANARY + b'"}', deadletter.INVALID),
        (policy(workflow, "e")[:-1] + b',"event_id":"twice"}', deadletter.INVALID),
        (b"x" * (DEFAULT_MAX_RECORD_BYTES + 1), deadletter.OVERSIZED),
    ]
    records: list[Sent] = []
    for topic in SOURCES:
        for number, (value, _) in enumerate(bad):
            records.append((topic.name, workflow.encode(), value, home))
            records.append((topic.name, workflow.encode(), policy(workflow, f"{topic.name}-{number}"), home))
    misrouted = policy(f"{tag}-elsewhere", "m")
    other = (partition_of(f"{tag}-elsewhere".encode(), DEFAULT_PARTITIONS) + 1) % DEFAULT_PARTITIONS
    records.append((SOURCES[0].name, b"some key", misrouted, other))
    for name in (REPLAY_COMMANDS.name, REPLAY_PROGRESS.name):
        records.append((name, b"x", b"\xff" + CANARY, 0))

    odd: list[tuple[str, int, Odd]] = []
    buried: list[tuple[str, int, Odd]] = []
    for topic in SOURCES:
        buried.append((topic.name, home, (None, None, [])))
        buried.append((topic.name, home, (b"k" * 20_000, None, [(b"\xff", None)])))
        for number, name in enumerate((b"traceparent", b"\xff\xfe")):  # a null in the one, no text in the other
            value = policy(workflow, f"{topic.name}-odd-{number}")
            odd.append((topic.name, home, (workflow.encode(), value, [(name, None)])))
    buried.append((REPLAY_COMMANDS.name, 0, (None, None, [(b"\xff", b"")])))

    settings = environment(broker, tag, tmp_path / "data")
    command(settings, "topics", "create")
    worker = Role("worker", settings, tmp_path / "log")
    with running(worker):
        asyncio.run(publish_odd(broker, odd))
        nothing = asyncio.run(publish_odd(broker, buried))
        where = asyncio.run(publish(broker, records))
        good = len(SOURCES) * len(bad) + len(odd)

        def events() -> Any:
            status, body = worker.get(f"/v1/workflows/{workflow}?tenant=acme")
            return body["events"] if status == 200 else None

        until(lambda: events() == good, "every good event counted")
        expected = {at: record for at, record in zip(where, records, strict=True) if record[0] in _BURIED}
        wanted = [at for at, (_, _, value, _) in expected.items() if value in {value for value, _ in bad} | {misrouted}]
        wanted += [at for at in expected if at[0] in (REPLAY_COMMANDS.name, REPLAY_PROGRESS.name)]

        missing: set[At] = {*wanted, *nothing}

        def all_buried() -> bool:
            missing.difference_update(asyncio.run(dead_letters(broker)))
            return not missing

        until(all_buried, "every bad record in dead-letters")
        assert worker.stop() == 0
    letters = asyncio.run(dead_letters(broker))
    reasons = {value: reason for value, reason in bad} | {misrouted: deadletter.MISROUTED}
    for at in wanted:
        _, _, value, _ = expected[at]
        ((kept, headers),) = letters[at]  # once: no other application has read these offsets yet
        reason = headers[deadletter.REASON].decode()
        assert reason == reasons.get(value, deadletter.UNDECODABLE)
        assert headers[deadletter.ERROR_CLASS]
        if reason == deadletter.OVERSIZED:
            assert not kept
            assert headers[deadletter.POINTER].decode() == f"{at[0]}/{at[1]}/{at[2]}"
        else:
            assert kept == value
    for at in nothing:
        ((value, headers),) = letters[at]
        assert value is None
        assert headers[deadletter.REASON].decode() == deadletter.UNDECODABLE
    assert CANARY not in worker.log.read_bytes()


_BURIED = {topic.name for topic in SOURCES} | {REPLAY_COMMANDS.name, REPLAY_PROGRESS.name}


def test_two_workers_answer_as_one_and_the_same_id_in_two_tenants_is_two_workflows(
    broker: str, unique: Callable[[str], str], tmp_path: Path
) -> None:
    tag = unique("two")
    tenants = (f"{tag}-a", f"{tag}-b")
    workflows = [f"{tag}-{number}" for number in range(20)]
    records: list[Sent] = [
        (SOURCES[number % len(SOURCES)].name, workflow.encode(), policy(workflow, f"e{number}", tenant), None)
        for number in range(3)
        for workflow in workflows
        for tenant in tenants
    ]
    # The second tenant's workflows have one event more.
    records += [(SOURCES[0].name, w.encode(), policy(w, "more", tenants[1]), None) for w in workflows]
    settings = environment(
        broker,
        tag,
        tmp_path / "data",
        SESSION_TIMEOUT_S="3",
        HEARTBEAT_INTERVAL_S="0.5",
        RATE_LIMIT_PER_S="1000",
        INSTANCE_ID="one",
    )
    other = environment(
        broker,
        tag,
        tmp_path / "data",
        SESSION_TIMEOUT_S="3",
        HEARTBEAT_INTERVAL_S="0.5",
        RATE_LIMIT_PER_S="1000",
        INSTANCE_ID="two",
    )
    command(settings, "topics", "create")
    times = asyncio.run(append_times(broker, asyncio.run(publish(broker, records))))
    one, two = Role("worker", settings, tmp_path / "one"), Role("worker", other, tmp_path / "two")

    def listed(role: Role, tenant: str) -> list[tuple[str, int]] | None:
        found: list[tuple[str, int]] = []
        cursor = ""
        while True:
            status, body = role.get(f"/v1/workflows?tenant={tenant}&limit=7{cursor}")
            if status != 200:
                return None
            found += [(item["workflow_id"], item["events"]) for item in body["items"]]
            if body["next_cursor"] is None:
                return found
            cursor = f"&cursor={body['next_cursor']}"

    with running(one, two):
        for tenant, events in zip(tenants, (3, 4), strict=True):
            whole = sorted((workflow, events) for workflow in workflows)
            for role in (one, two):
                until(
                    lambda r=role, t=tenant, w=whole: listed(r, t) == w, f"{role.environment['REPLAYER_INSTANCE_ID']}"
                )
                for workflow in workflows:
                    status, body = role.answer(f"/v1/workflows/{workflow}/timeline?tenant={tenant}")
                    assert status == 200
                    ids = Counter(item["event_id"] for item in body["items"])
                    assert ids == Counter(["e0", "e1", "e2"] + (["more"] if events == 4 else []))
                    assert_commit_times(body["items"], times)
        assert one.answer(f"/v1/workflows/{workflows[0]}?tenant=nobody")[0] == 404

        def caught_up() -> bool:
            lags = one.metrics("replayer_lag") + two.metrics("replayer_lag")
            return len(lags) == DEFAULT_PARTITIONS * (len(SOURCES) + 3) and not any(lags)

        until(caught_up, "each partition of each source has its lag, and none")
        until(lambda: one.metrics("replayer_generation") == two.metrics("replayer_generation"), "one generation")
        assert all(role.metrics("replayer_rebalances_total")[0] >= 1 for role in (one, two))
        forwarded = [role.metrics("replayer_forwarded_requests_total", operation="timeline") for role in (one, two)]
        assert sum(map(sum, forwarded)) > 0, "one of the two does not own it"
        two.kill()
        answers = []

        def taken_over() -> bool:
            answers.append(listed(one, tenants[0]))
            return answers[-1] is not None and one.ready()

        until(taken_over, "the remaining worker takes over")
        whole = sorted((workflow, 3) for workflow in workflows)
        assert all(answer in (None, whole) for answer in answers), "a list was shorter than it should be"
        assert one.stop() == 0
