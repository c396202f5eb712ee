"""An investigation over 100,000 records, its investigator killed midway, next to a worker that has live events to fold.

All of it as processes, over the command line.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from replayer.kafka.admin import LogAdmin
from replayer.kafka.partitioner import partition_of
from replayer.kafka.reader import LogReader
from tests.e2e.roles import Role, command, environment, running, until
from topics.catalogue import DEFAULT_PARTITIONS, SOURCES
from topics.codec import encode
from topics.families.policy import PolicyEvaluated
from topics.results import ReplayResult, TerminalRecord, add_digests, decode_result, digest_hex, result_digest

pytestmark = pytest.mark.broker

EVENTS = 100_000
NAMES = [topic.name for topic in SOURCES]
At = tuple[str, int, int]


def event(tag: str, name: str, workflow: str) -> bytes:
    return encode(
        PolicyEvaluated(policy_id="pii", outcome="allow"),
        event_id=name,
        workflow_id=workflow,
        occurred_at=datetime(2025, 3, 1, tzinfo=UTC),
        tenant_id=tag,
        source="guard",
        agent_id="support",
    )


async def feed(broker: str, tag: str) -> set[At]:
    """EVENTS events of 500 workflows over all sources, in batches; answers with where they stand."""
    template = event(tag, "@event@", "@workflow@")
    producer = AIOKafkaProducer(bootstrap_servers=broker, max_batch_size=256 << 10)
    await producer.start()
    waiting: dict[TopicPartition, list[tuple[bytes, bytes]]] = {}
    for n in range(EVENTS):
        workflow = f"{tag}-{n % 500}".encode()
        value = template.replace(b"@event@", f"{tag}-{n}".encode()).replace(b"@workflow@", workflow)
        tp = TopicPartition(NAMES[n % len(NAMES)], partition_of(workflow, DEFAULT_PARTITIONS))
        waiting.setdefault(tp, []).append((workflow, value))
    where: set[At] = set()
    for tp, records in waiting.items():
        for start in range(0, len(records), 500):
            batch = producer.create_batch()
            for key, value in records[start : start + 500]:
                assert batch.append(key=key, value=value, timestamp=None) is not None
            base = (await (await producer.send_batch(batch, tp.topic, partition=tp.partition))).offset
            where |= {(tp.topic, tp.partition, base + n) for n in range(batch.record_count())}
    await producer.stop()
    assert len(where) == EVENTS
    return where


async def committed(broker: str, group: str) -> dict[TopicPartition, int]:
    async with LogAdmin([broker]) as admin:
        return {tp: offset for tp, offset in (await admin.committed(group)).items() if tp.topic in NAMES}


@dataclass
class Live:
    """What goes on in the live group's topics meanwhile."""

    sent: Counter[TopicPartition] = field(default_factory=Counter)
    seen: list[dict[TopicPartition, int]] = field(default_factory=list)
    """What the group had committed, look after look."""


@contextmanager
def living(broker: str, group: str, tag: str) -> Iterator[Live]:
    """Some events a second to every source, one after the other, for as long as the block takes."""
    live, ending = Live(), threading.Event()

    async def trickle() -> None:
        async with AIOKafkaProducer(bootstrap_servers=broker) as producer, LogAdmin([broker]) as admin:
            while not ending.is_set():
                for name in NAMES:
                    n = live.sent.total()
                    workflow = f"{tag}-live-{n % 20}"
                    tp = TopicPartition(name, partition_of(workflow.encode(), DEFAULT_PARTITIONS))
                    value = event(tag, f"{tag}-live-{n}", workflow)
                    await producer.send_and_wait(name, value, workflow.encode(), tp.partition)
                    live.sent[tp] += 1
                live.seen.append(await admin.committed(group))
                await asyncio.sleep(0.4)

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(asyncio.run, trickle())
        try:
            yield live
        finally:
            ending.set()
            running.result()


async def members(broker: str, group: str) -> tuple[object, ...]:
    """The group's state and members, as the broker describes them: ids, clients, what each was assigned."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        (answer,) = await admin.describe_consumer_groups([group])
        return tuple(answer.groups)
    finally:
        await admin.close()


async def groups(broker: str) -> set[str]:
    async with LogAdmin([broker]) as admin:
        return set(await admin.groups())


async def written(broker: str, replay_id: str, location: dict[str, object]) -> list[bytes]:
    """The replay's records from its first result to the end of the topic: also what may stand behind its end."""
    tp = TopicPartition(str(location["topic"]), int(str(location["partition"])))
    found: list[bytes] = []
    async with LogAdmin([broker]) as admin, LogReader([broker]) as reader:
        ends = await admin.end_offsets([tp], "read_uncommitted")  # what is undecided is waited for
        async for batch in reader.read({tp: (int(str(location["first_offset"])), ends[tp])}):
            for record in batch.records:
                if record.key == replay_id.encode():
                    found.append(record.value)
    return found


def test_a_killed_investigator_completes_without_help_and_the_live_consumers_never_notice(
    broker: str, unique: Callable[[str], str], tmp_path: Path
) -> None:
    app_id, replay_id = unique("app"), unique("incident")
    settings = environment(broker, app_id, tmp_path / "worker")
    worker = Role("worker", settings, tmp_path / "worker.log")
    investigator = Role(
        "investigator",
        # Replays that other tests of this run have asked for are taken up too: they must not be in the way.
        environment(broker, app_id, tmp_path / "investigator", INVESTIGATOR_MAX_CONCURRENT="20")
        # 1,000 transactions: it has not ended when it is struck after a quarter of them.
        | {"REPLAYER_INVESTIGATOR_BATCH_RECORDS": str(EVENTS // 1_000)},
        tmp_path / "investigator.log",
    )
    command(settings, "topics", "create")
    since = datetime.now(UTC) - timedelta(milliseconds=1)
    time.sleep(0.01)
    fed = asyncio.run(feed(broker, replay_id))
    time.sleep(0.01)
    end = datetime.now(UTC)
    last = {
        tp: max(offset for topic, partition, offset in fed if (topic, partition) == tp) for tp in {at[:2] for at in fed}
    }

    with running(worker, investigator):

        def folded() -> bool:
            offsets = asyncio.run(committed(broker, app_id))
            return all(offsets.get(TopicPartition(*tp), 0) > offset for tp, offset in last.items())

        until(folded, "the worker has folded all events")
        before = asyncio.run(committed(broker, app_id))
        everyone = {name for name in asyncio.run(groups(broker)) if not name.startswith("replayer-inv-")}
        group = asyncio.run(members(broker, app_id))
        assert "Stable" in group[0]
        rebalances = [worker.metrics(f"replayer_{name}") for name in ("rebalances_total", "generation")]

        def shown() -> dict[str, object]:
            return worker.get(f"/v1/replays/{replay_id}")[1] or {}

        with living(broker, app_id, replay_id) as live:
            command(
                settings, "replay", "start", "--everything", "--since", since.isoformat(), "--until", end.isoformat(),
                "--id", replay_id, "--name", "INC-7", "--purpose", "a test", "--json",
            )  # fmt: skip
            until(lambda: int(str(shown().get("matched", 0))) >= EVENTS // 4, "a quarter of the results")
            investigator.kill()
            halfway = shown()
            assert halfway["state"] == "RUNNING"
            assert int(str(halfway["matched"])) < EVENTS
            del investigator.environment["REPLAYER_INVESTIGATOR_BATCH_RECORDS"]
            investigator.start()
            until(lambda: shown().get("state") not in ("PLANNED", "RUNNING", None), "the replay has ended")

        replay = shown()
        assert replay["state"] == "COMPLETED"
        assert replay["coverage"]["complete"]
        *results, last_record = asyncio.run(written(broker, replay_id, replay["results"]))
        terminal = decode_result(last_record)
        assert isinstance(terminal, TerminalRecord)
        assert isinstance(decode_result(results[0]), ReplayResult)
        said = [orjson.loads(result) for result in results]
        assert {result["kind"] for result in said} == {"result"}
        places = [(at["topic"], at["partition"], at["offset"]) for at in (result["position"] for result in said)]
        assert len(places) == len(set(places)) == EVENTS
        assert set(places) == fed
        shares = [result_digest(*place, result["sha256"]) for place, result in zip(places, said, strict=True)]
        assert digest_hex(add_digests(*shares)) == terminal.digest == replay["digest"]
        assert terminal.count == EVENTS
        assert command(settings, "replay", "show", replay_id, "--url", worker.url, "--json")["state"] == "COMPLETED"

        until(lambda: f"replayer-inv-{replay_id}" not in asyncio.run(groups(broker)), "its group is gone")
        # The live consumer has folded what was sent to it, no more and no less, and has noticed nothing.
        expected = {tp: offset + live.sent[tp] for tp, offset in before.items()}
        assert live.sent.total() > 0
        until(lambda: asyncio.run(committed(broker, app_id)) == expected, "exactly the live events are folded")
        for earlier, later in pairwise([before, *live.seen, expected]):
            assert all(earlier[tp] <= later[tp] for tp in before), "a live position went back"
        assert asyncio.run(members(broker, app_id)) == group
        assert rebalances == [worker.metrics(f"replayer_{name}") for name in ("rebalances_total", "generation")]
        assert everyone <= asyncio.run(groups(broker))
        assert investigator.stop() == 0
        assert worker.stop() == 0
    for role in (worker, investigator):
        assert "Traceback" not in role.log.read_text()
