"""One replay against a real broker: what it finds, how it says so, and what it leaves alone."""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from replayer.core.replays import OpenReplay
from replayer.investigate import investigation, scan
from replayer.investigate.config import group_of
from replayer.investigate.investigation import Ending, Investigation
from replayer.investigate.ledger import Ledger
from replayer.kafka.admin import LogAdmin
from replayer.kafka.partitioner import partition_of
from tests.investigate.conftest import Log, command, event, wanted
from topics.codec import Undecodable, decode
from topics.commands import BetweenOffsets, BetweenTimes, OffsetRange, SelectWorkflows, WorkflowRef
from topics.fields import EPOCH
from topics.progress import State
from topics.projection import project

pytestmark = pytest.mark.broker


async def run(log: Log, replay: OpenReplay, **config: object) -> Ending:
    return await asyncio.wait_for(Investigation(replace(log.config, **config), replay).run(), 120)


def chosen(*refs: tuple[str, str]) -> SelectWorkflows:
    return SelectWorkflows(workflows=tuple(WorkflowRef(tenant_id=tenant, workflow_id=name) for tenant, name in refs))


@pytest.mark.parametrize("transactional", [False, True])
async def test_everything_is_found_once_and_ended_with_a_terminal_record(log: Log, unique, transactional):
    positions = await log.events(1_500, transactional=unique("feed") if transactional else None)
    replay_id = unique("all")
    assert await run(log, wanted(replay_id), commit_records=400) is Ending.ENDED
    out = await log.output(replay_id)
    assert out.positions == sorted(positions)
    assert [it.seq for it in out.results] == list(range(1_500))
    (end,) = out.terminals
    assert (end.state, end.count, end.digest) == (State.COMPLETED, 1_500, out.digest)
    assert end.coverage is not None
    assert end.coverage.complete
    last = out.progress[-1]
    assert (last.state, last.read, last.matched, last.digest) == (State.COMPLETED, 1_500, 1_500, end.digest)
    assert [said.version for said in out.progress] == list(range(1, len(out.progress) + 1))
    read = [said.read for said in out.progress]
    assert max(after - before for before, after in pairwise(read)) <= 400, "more than asked for between two checkpoints"
    assert last.results is not None
    assert last.results.first_offset == out.offsets[0]
    assert last.results.end_offset == out.offsets[-1] + 1
    assert all(part.position >= part.end for part in end.coverage.partitions)


async def test_a_result_is_the_projection_and_nothing_confidential(log: Log, unique):
    ((topic, partition, offset),) = await log.events(1)
    replay_id = unique("one")
    await run(log, wanted(replay_id))
    (result,) = (await log.output(replay_id)).results
    assert (result.position.topic, result.position.partition, result.position.offset) == (topic, partition, offset)
    assert (result.event.event_id, result.event.workflow_id, result.event.tenant_id) == ("e-0", "w-0", "acme")
    assert result.event.data == {"policy_id": "pii", "outcome": "deny"}
    assert result.event.subject_id is None
    said = decode(event(0, "w-0"))
    assert not isinstance(said, Undecodable)
    assert said.subject_id == "somebody"
    assert result.sha256 == hashlib.sha256(project(said)).hexdigest()


async def test_workflows_are_found_by_tenant_and_id_whatever_the_key(log: Log, unique):
    positions = await log.events(600, tenants=("acme", "globex"))
    by_other_keys = await log.produce([(log.sources[0], None, event(9_001, "w-3"))])
    hits = [p for n, p in enumerate(positions) if n % 7 == 3 and n // 7 % 2 == 0]
    hits += [p for p in by_other_keys if p[1] == partition_of(b"w-3", 3)]
    replay_id = unique("chosen")
    await run(log, wanted(replay_id, selection=chosen(("acme", "w-3"), ("acme", "never-was"))))
    out = await log.output(replay_id)
    assert out.positions == sorted(hits)
    coverage = out.terminals[0].coverage
    assert coverage is not None
    assert {part.partition for part in coverage.partitions} == {partition_of(key, 3) for key in (b"w-3", b"never-was")}


async def test_nothing_found_is_an_answer_too(log: Log, unique):
    replay_id = unique("none")
    await run(log, wanted(replay_id))
    out = await log.output(replay_id)
    assert out.results == []
    (end,) = out.terminals
    assert (end.state, end.count, end.digest) == (State.COMPLETED, 0, "0" * 64)
    assert out.progress[-1].results is not None
    assert out.progress[-1].results.end_offset == out.offsets[0] + 1


async def test_what_is_no_event_is_counted_and_coverage_is_not_complete(log: Log, unique):
    await log.events(50)
    await log.produce([(log.sources[0], b"w-1", b"\xff"), (log.sources[1], b"w-2", b'{"event_type":"no.such"}')])
    replay_id = unique("poison")
    await run(log, wanted(replay_id))
    out = await log.output(replay_id)
    assert len(out.results) == 50
    end = out.terminals[0]
    assert end.coverage is not None
    assert not end.coverage.complete
    assert sum(part.undecodable for part in end.coverage.partitions) == 2


async def test_a_record_that_makes_it_raise_holds_up_nobody(log: Log, unique, monkeypatch):
    positions = await log.events(30)
    broken = positions[7]

    def raises(projected, event, content):
        if event.event_id == "e-7":
            raise ZeroDivisionError
        return projected(event, content)

    monkeypatch.setattr(scan, "projected", functools.partial(raises, scan.projected))
    replay_id = unique("raises")
    await run(log, wanted(replay_id))
    out = await log.output(replay_id)
    assert out.positions == sorted(at for at in positions if at != broken)
    (end,) = out.terminals
    assert end.coverage is not None
    assert sum(part.undecodable for part in end.coverage.partitions) == 1


async def test_a_fault_of_the_program_ends_the_replay_and_says_so(log: Log, unique, monkeypatch):
    await log.events(5)

    async def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(investigation, "snapshot", broken)
    replay_id = unique("fault")
    config = replace(log.config, most_failures=3, backoff_s=0.01)
    assert await Investigation(config, wanted(replay_id)).run() is Ending.ENDED
    (end,) = (await log.output(replay_id)).terminals
    assert end.state is State.FAILED
    assert end.error == "It failed 3 times in a row, the last time with ZeroDivisionError."


async def test_the_end_is_what_was_there_at_the_start(log: Log, unique):
    positions = await log.events(900)
    replay_id = unique("snapshot")
    running = asyncio.create_task(run(log, wanted(replay_id, records_per_second=10)))
    await log.progressed(replay_id)
    await log.events(300)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled(), "the other events came while it ran"
    await run(log, wanted(replay_id))
    assert (await log.output(replay_id)).positions == sorted(positions)


async def test_a_transaction_still_open_is_neither_waited_for_nor_shown(log: Log, unique):
    positions = await log.events(30)
    hanging = AIOKafkaProducer(bootstrap_servers=log.broker, transactional_id=unique("hanging"))
    await hanging.start()
    await hanging.begin_transaction()
    await hanging.send_and_wait(log.sources[0], event(77, "w-0"), b"w-0", partition_of(b"w-0", 3))
    replay_id = unique("decided")
    await run(log, wanted(replay_id))
    await hanging.abort_transaction()
    await hanging.stop()
    assert (await log.output(replay_id)).positions == sorted(positions)


async def test_a_range_of_time_is_of_the_log_s_clock(log: Log, unique):
    await log.events(40)
    await asyncio.sleep(0.05)
    middle = await log.events(60)
    await asyncio.sleep(0.05)
    await log.events(50)
    everything = unique("clock")
    await run(log, wanted(everything))
    times = {
        (it.position.topic, it.position.partition, it.position.offset): it.commit_ts
        for it in (await log.output(everything)).results
    }
    start, end = min(times[at] for at in middle), max(times[at] for at in middle)
    replay_id = unique("between")
    await run(log, wanted(replay_id, range=BetweenTimes(start=start, end=end + timedelta(milliseconds=1))))
    assert (await log.output(replay_id)).positions == sorted(middle)
    late = unique("late")
    await run(log, wanted(late, range=BetweenTimes(start=EPOCH + timedelta(days=40_000))))
    out = await log.output(late)
    assert (out.results, out.terminals[0].state) == ([], State.COMPLETED)


async def test_a_range_of_offsets_is_taken_literally(log: Log, unique):
    positions = await log.events(300)
    topic = log.sources[1]
    inside = [p for p in positions if p[0] == topic and p[1] == 2 and 5 <= p[2] < 20]
    assert inside
    replay_id = unique("offsets")
    asked = BetweenOffsets(partitions=(OffsetRange(topic=topic, partition=2, start=5, end=20),))
    await run(log, wanted(replay_id, range=asked))
    out = await log.output(replay_id)
    assert out.positions == sorted(inside)
    assert out.terminals[0].coverage is not None
    assert len(out.terminals[0].coverage.partitions) == 1


async def delete_before(log: Log, before: dict[TopicPartition, int]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=log.broker)
    await admin.start()
    await admin.delete_records({tp: RecordsToDelete(before_offset=offset) for tp, offset in before.items()})
    await admin.close()


async def test_what_expired_before_the_start_is_said_not_skipped(log: Log, unique):
    positions = await log.events(300)
    gone = TopicPartition(log.sources[0], 1)
    await delete_before(log, {gone: 9})
    left = [p for p in positions if not (p[0] == gone.topic and p[1] == 1 and p[2] < 9)]
    assert len(left) < len(positions)
    earliest, literal = unique("earliest"), unique("literal")
    await run(log, wanted(earliest))
    await run(
        log, wanted(literal, range=BetweenOffsets(partitions=(OffsetRange(topic=gone.topic, partition=1, start=3),)))
    )
    out = await log.output(earliest)
    assert out.positions == sorted(left)
    coverage = out.terminals[0].coverage
    assert coverage is not None
    assert not coverage.complete
    heads = {(part.topic, part.partition): part.head for part in coverage.partitions}
    assert heads.pop((gone.topic, 1)) == "truncated_head"
    assert set(heads.values()) == {"complete"}
    (part,) = (await log.output(literal)).terminals[0].coverage.partitions
    assert [(gap.start, gap.end, gap.reason) for gap in part.gaps] == [(3, 9, "expired")]


async def test_what_expires_under_way_is_an_explicit_gap(log: Log, unique):
    await log.events(3_000)
    replay_id = unique("expiring")
    running = asyncio.create_task(run(log, wanted(replay_id, records_per_second=50), fetch_records=20))
    await log.progressed(replay_id, results=1)
    running.cancel()
    await asyncio.wait([running])
    async with Ledger(log.config, replay_id):
        pass  # what the cancelled one may have left undecided is decided now
    before = (await log.output(replay_id)).progress[-1]
    assert before.coverage is not None
    places = {(part.topic, part.partition): part for part in before.coverage.partitions}
    part = next(part for part in places.values() if part.position < part.end - 50)
    await delete_before(log, {TopicPartition(part.topic, part.partition): part.position + 40})
    await run(log, wanted(replay_id))
    out = await log.output(replay_id)
    coverage = out.terminals[0].coverage
    assert coverage is not None
    assert not coverage.complete
    after = next(it for it in coverage.partitions if (it.topic, it.partition) == (part.topic, part.partition))
    assert [(gap.start, gap.end, gap.reason) for gap in after.gaps] == [(part.position, part.position + 40, "expired")]
    found = {offset for topic, partition, offset in out.positions if (topic, partition) == (part.topic, part.partition)}
    assert found == set(range(part.position)) | set(range(part.position + 40, part.end))
    assert (out.terminals[0].count, out.terminals[0].digest) == (len(out.results), out.digest)


async def test_the_rate_holds(log: Log, unique):
    await log.events(600)
    began = asyncio.get_running_loop().time()
    await run(log, wanted(unique("slow"), records_per_second=300))
    assert asyncio.get_running_loop().time() - began >= 2.0


@pytest.mark.parametrize("when", ["before the start", "under way"])
async def test_a_cancelled_replay_keeps_its_results_and_is_ended_properly(log: Log, unique, when):
    await log.events(3_000)
    replay_id = unique("cancelled")
    replay = wanted(replay_id, records_per_second=20)
    investigation = Investigation(log.config, replace(replay, cancelled=when == "before the start"))
    running = asyncio.create_task(asyncio.wait_for(investigation.run(), 120))
    if when == "under way":
        await log.progressed(replay_id, results=1)
        investigation.cancel()
    assert await running is Ending.ENDED
    out = await log.output(replay_id)
    (end,) = out.terminals
    assert end.state is out.progress[-1].state is State.CANCELLED
    assert (end.count, end.digest) == (len(out.results), out.digest)
    assert (len(out.results) > 0) == (when == "under way")
    assert len(out.results) < 3_000


@pytest.mark.parametrize(
    ("topic", "partition", "said"), [("workflow-events", 0, "no event topic"), (None, 99, "does not exist")]
)
async def test_what_cannot_be_done_fails_with_a_sentence(log: Log, unique, topic, partition, said):
    replay_id = unique("refused")
    asked = BetweenOffsets(partitions=(OffsetRange(topic=topic or log.sources[0], partition=partition, start=0),))
    await run(log, wanted(replay_id, range=asked))
    out = await log.output(replay_id)
    (end,) = out.terminals
    assert end.state is out.progress[-1].state is State.FAILED
    assert said in (end.error or "")
    assert end.error == out.progress[-1].error


async def test_a_checkpoint_that_is_gone_fails_the_replay_instead_of_starting_it_over(log: Log, unique):
    await log.events(200)
    replay_id = unique("lost")
    await run(log, OpenReplay(command(replay_id), cancelled=False, version=3))
    out = await log.output(replay_id)
    assert out.results == []
    assert (out.progress[-1].state, out.progress[-1].version) == (State.FAILED, 4)
    assert "checkpoint" in (out.progress[-1].error or "")


async def test_a_replay_that_has_ended_is_not_run_again(log: Log, unique):
    await log.events(100)
    replay_id = unique("again")
    for _ in range(2):
        assert await run(log, wanted(replay_id)) is Ending.ENDED
    out = await log.output(replay_id)
    assert len(out.results) == 100
    assert len(out.terminals) == 1


async def test_other_groups_are_left_as_they_are(log: Log, unique):
    await log.events(400)
    live = unique("live")
    partitions = [TopicPartition(log.sources[0], partition) for partition in range(3)]
    consumer = AIOKafkaConsumer(bootstrap_servers=log.broker, group_id=live, enable_auto_commit=False)
    await consumer.start()
    consumer.assign(partitions)
    await consumer.commit(dict.fromkeys(partitions, 7))
    async with LogAdmin([log.broker]) as admin:
        before = await admin.committed(live)
        replay_id = unique("polite")
        await run(log, wanted(replay_id))
        assert await admin.committed(live) == before == dict.fromkeys(partitions, 7)
        own = await admin.committed(group_of(replay_id))
        ends = await admin.end_offsets(partitions)
        assert {tp: own[tp] for tp in partitions} == ends
        await admin.delete_groups([group_of(replay_id)])
        assert group_of(replay_id) not in await admin.groups()
        assert live in await admin.groups()
    await consumer.stop()


async def test_a_second_investigator_fences_the_first_and_nothing_is_written_twice(
    log: Log, unique: Callable[[str], str]
):
    positions = await log.events(3_000)
    replay_id = unique("contested")
    first = asyncio.create_task(run(log, wanted(replay_id, records_per_second=20)))
    await log.progressed(replay_id, results=1)
    assert await run(log, wanted(replay_id)) is Ending.ENDED
    assert await first is Ending.FENCED
    out = await log.output(replay_id)
    assert out.positions == sorted(positions)
    assert [it.seq for it in out.results] == list(range(3_000))
    assert [said.version for said in out.progress] == list(range(1, len(out.progress) + 1))
    (end,) = out.terminals
    assert (end.count, end.digest) == (3_000, out.digest)
