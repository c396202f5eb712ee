"""What the consumer thread answers covers the log without a hole, whatever the main thread does meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from functools import partial
from types import SimpleNamespace

import pytest
from aiokafka.consumer import fetcher as aiokafka_s
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.subscription_state import TopicPartitionState
from aiokafka.errors import CorruptRecordException, IllegalStateError, KafkaTimeoutError, OffsetOutOfRangeError
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from replayer import recordbatches
from replayer.engine.consumer import BatchConsumer
from replayer.engine.fetching import BatchConsumerThread
from tests.engine.records import Log

A, B = TP("t", 0), TP("t", 1)


class FakeConsumer:
    """aiokafka's consumer as far as the thread looks into it: positions move on with what is drained."""

    _closed = False

    def __init__(self, logs):
        self.logs = logs
        self.states = {tp: SimpleNamespace(position=None, has_valid_position=False) for tp in logs}
        assignment = SimpleNamespace(tps=set(logs), state_value=self.states.__getitem__)
        self._subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
        subscriptions = SimpleNamespace(fetch_context=contextlib.nullcontext)
        self._fetcher = SimpleNamespace(
            _closed=False, _subscriptions=subscriptions, fetched_records=self.fetched_records, _fetch_waiters=set()
        )
        self.meanwhile = lambda: None
        self.count = 4
        self.error = None

    def seek(self, tp, offset):
        if tp not in self.states:
            raise IllegalStateError
        self.states[tp].position, self.states[tp].has_valid_position = offset, True

    async def fetched_records(self, partitions, timeout=0, max_records=None):
        await asyncio.sleep(0)
        self.meanwhile()
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        drained = {}
        for tp, log in self.logs.items():
            state = self.states[tp]
            if (partitions and tp not in partitions) or not state.has_valid_position:
                continue
            after = min(state.position + self.count, log.end)
            found = [record for record in log.records if state.position <= record.offset < after]
            state.position = after
            if found:
                drained[tp] = found
        return drained

    async def beginning_offsets(self, tps):
        self.meanwhile()
        return {tp: self.logs[tp].start for tp in tps}

    async def end_offsets(self, tps):
        return {tp: self.logs[tp].end for tp in tps}


def thread_on(consumer, max_records=3):
    thread = BatchConsumerThread.__new__(BatchConsumerThread)
    thread._next, thread._epochs, thread._wanted = {}, defaultdict(int), set()
    config = SimpleNamespace(batch_max_records=max_records, batch_max_bytes=1 << 20)
    thread.consumer = SimpleNamespace(flow_active=True, engine=SimpleNamespace(config=config))
    thread._consumer = consumer
    return thread


def fetch(thread, active):
    return asyncio.run(thread._fetch_records(thread._consumer, active))


def two_logs_from_the_start():
    logs = {A: Log(range(8), 8), B: Log(range(8), 8)}
    consumer = FakeConsumer(logs)
    thread = thread_on(consumer)
    for tp in logs:
        thread._seek(consumer, tp, 0)
    return logs, consumer, thread


def assert_true_to(log, batches):
    for batch in batches:
        assert list(batch.records) == [r for r in log.records if batch.before <= r.offset < batch.after]


def test_partitions_suspended_during_a_fetch_lose_nothing():
    logs, consumer, thread = two_logs_from_the_start()
    active = {A}
    consumer.meanwhile = active.clear  # the main thread suspends the last one: to aiokafka, "no set" is "all"
    first = fetch(thread, active)
    consumer.meanwhile = lambda: None
    active.update(logs)
    second = fetch(thread, active)
    for tp, log in logs.items():
        batches = [*first.get(tp, ()), *second.get(tp, ())]
        assert_true_to(log, batches)
        assert batches[0].before == 0
        assert sum(len(batch.records) for batch in batches) == (8 if tp == A else 4)


class Waiting:
    """aiokafka's own Fetcher with the records of one partition in its hands, and its consumer around it."""

    _closed = False

    def __init__(self, tp, records):
        assignment = SimpleNamespace(active=True, tps={A, B}, state_value=lambda tp: self.states[tp])
        self.states = {tp: TopicPartitionState(assignment) for tp in (A, B)}
        self._subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
        fetcher = self._fetcher = Fetcher.__new__(Fetcher)
        fetcher._loop, fetcher._closed = asyncio.get_running_loop(), False
        fetcher._fetch_waiters, fetcher._wait_consume_future = set(), None
        fetcher._subscriptions = SimpleNamespace(
            fetch_context=contextlib.nullcontext, reassignment_in_progress=False, is_assigned=lambda tp: True
        )
        held = Held(records)
        result = aiokafka_s.FetchResult(tp, assignment=assignment, partition_records=held, backoff=0)
        fetcher._records = {tp: result}

    def seek(self, tp, offset):
        self.states[tp].seek(offset)


class Held:
    """Records as aiokafka's PartitionRecords gives them out."""

    def __init__(self, records):
        self._records, self.next_fetch_offset = iter(records), 0

    def __iter__(self):
        return self

    def __next__(self):
        record = next(self._records)
        self.next_fetch_offset = record.offset + 1
        return record


async def test_a_partition_resumed_during_a_fetch_is_answered_by_it(monkeypatch):
    """Whoever waits for the others with these records in hand keeps a lane idle for as long as a fetch may take."""
    monkeypatch.setattr(recordbatches, "_library", None)  # these records are made
    log = Log(range(3), 3)
    consumer = Waiting(B, log.records)
    thread = thread_on(consumer)
    thread.thread_loop = asyncio.get_running_loop()
    for tp in (A, B):
        thread._seek(consumer, tp, 0)
    fetch = asyncio.ensure_future(thread._fetch_records(consumer, {A}, timeout=60.0))
    await asyncio.sleep(0.01)
    assert not fetch.done()
    thread.resumed([B])
    async with asyncio.timeout(10):
        answer = await fetch
    assert list(answer) == [B]
    assert_true_to(log, answer[B])
    assert thread.reached(B) == 3


def test_what_faust_would_not_hand_on_is_not_asked_for():
    """In recovery it suspends nothing and resumes nothing: records of a paused partition would be dropped."""
    asked = []
    consumer = BatchConsumer.__new__(BatchConsumer)
    consumer._resumed = asyncio.Event()
    consumer._thread = SimpleNamespace(resumed=asked.append)
    consumer._active_partitions, consumer._paused_partitions, consumer._buffered_partitions = {A}, {B}, set()
    consumer.resume_fetching(B)
    assert asked == [set()]
    consumer._buffered_partitions.add(B)
    consumer.resume_fetching(B)
    assert asked == [set(), {B}]


def test_without_partitions_nothing_is_fetched():
    consumer = FakeConsumer({A: Log(range(8), 8)})
    thread = thread_on(consumer)
    thread._seek(consumer, A, 0)
    assert fetch(thread, set()) == {}
    assert consumer.states[A].position == 0


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["fetch", "fetch", "seek", "pause", "resume", "clear", "resume meanwhile"]),
        st.sampled_from([A, B]),
        st.integers(0, 9),
    ),
    max_size=40,
)


def resume(thread, kept, tp):
    thread._want([tp])
    if kept:  # with nothing wanted at its beginning there is no fetch
        kept.add(tp)


@given(st.lists(st.integers(0, 9), unique=True), st.lists(st.integers(0, 9), unique=True), ACTIONS)
def test_batches_of_one_epoch_follow_each_other_without_a_hole(one, other, actions):
    logs = {A: Log(one, 10), B: Log(other, 10)}
    consumer = FakeConsumer(logs)
    thread = thread_on(consumer, max_records=2)
    active = {A, B}
    expected = {}  # (tp, epoch) -> where the next batch must begin
    for tp in logs:
        thread._seek(consumer, tp, 0)
        expected[tp, thread._epochs[tp]] = 0
    for what, tp, number in actions:
        consumer.count = number % 4 + 1
        if what == "seek":
            epoch = thread._epochs[tp]
            thread._seek(consumer, tp, number)
            assert thread._epochs[tp] > epoch, "what was fetched before the seek must be told apart"
            expected[tp, thread._epochs[tp]] = number
        elif what == "pause":
            active.discard(tp)
        elif what == "resume":
            active.add(tp)
        else:
            kept = set(active)
            meanwhile = {"clear": active.clear, "resume meanwhile": partial(resume, thread, kept, tp)}
            consumer.meanwhile = meanwhile.get(what, lambda: None)
            for found, batches in fetch(thread, active).items():
                assert found in kept
                assert_true_to(logs[found], batches)
                for batch in batches:
                    assert batch.before == expected[found, batch.epoch]
                    expected[found, batch.epoch] = batch.after
            active.update(kept)
            for tp_ in logs:
                assert thread.reached(tp_) == expected[tp_, thread._epochs[tp_]]


def test_markers_at_the_end_of_a_log_are_a_batch_without_records():
    consumer = FakeConsumer({A: Log([0, 1], 7)})
    thread = thread_on(consumer)
    thread._seek(consumer, A, 0)
    (first,), (last,) = fetch(thread, {A})[A], fetch(thread, {A})[A]
    assert (first.before, first.after, len(first.records)) == (0, 4, 2)
    assert (last.before, last.after, len(last.records)) == (4, 7, 0)
    assert thread.reached(A) == 7
    assert fetch(thread, {A}) == {}


def out_of_range(offset, start, end):
    consumer = FakeConsumer({A: Log(range(start, end), end, start=start)})
    thread = thread_on(consumer)
    thread._seek(consumer, A, offset)
    consumer.error = OffsetOutOfRangeError({A: offset})
    return consumer, thread


def test_an_expired_offset_is_a_gap_and_reading_goes_on_at_the_start():
    consumer, thread = out_of_range(2, 5, 9)
    (batch,) = fetch(thread, {A})[A]
    assert (batch.before, batch.after, batch.gap, list(batch.records)) == (2, 5, (2, 5), [])
    assert consumer.states[A].position == 5
    (following, *_) = fetch(thread, {A})[A]
    assert (following.before, following.epoch) == (5, batch.epoch)


def test_an_offset_above_the_end_is_told_and_nothing_is_skipped():
    consumer, thread = out_of_range(12, 5, 9)
    (batch,) = fetch(thread, {A})[A]
    assert (batch.beyond, batch.gap) == ((12, 9), None)
    assert consumer.states[A].position == 12


def test_an_offset_that_is_in_the_log_by_now_is_fetched_again():
    _, thread = out_of_range(6, 5, 9)
    assert fetch(thread, {A}) == {}
    (batch, *_) = fetch(thread, {A})[A]
    assert batch.before == 6


def test_a_seek_made_while_the_log_is_asked_stands():
    consumer, thread = out_of_range(2, 5, 9)
    once = [True]

    def seek():
        if consumer.error is None and once.pop() if once else False:
            thread._seek(consumer, A, 7)

    consumer.meanwhile = seek
    assert fetch(thread, {A}) == {}
    assert consumer.states[A].position == 7


def test_a_broker_that_does_not_answer_is_asked_again():
    consumer, thread = out_of_range(2, 5, 9)

    async def no_answer(_):
        raise KafkaTimeoutError

    consumer.end_offsets = no_answer
    assert fetch(thread, {A}) == {}
    assert consumer.states[A].position == 2


def test_what_a_fetch_drained_before_it_raised_is_fetched_again():
    logs, consumer, thread = two_logs_from_the_start()
    fetch(thread, {A, B})

    def drain():  # as aiokafka does: A's records are taken and its position is moved, then B's batch is damaged
        consumer.states[A].position = 8

    consumer.meanwhile, consumer.error = drain, CorruptRecordException("crc")
    assert fetch(thread, {A, B}) == {}
    consumer.meanwhile = lambda: None
    again = fetch(thread, {A, B})
    for tp, log in logs.items():
        assert again[tp][0].before == 4
        assert_true_to(log, again[tp])


@pytest.mark.parametrize("revoked_when", ["forgotten", "unassigned"])
def test_what_was_revoked_is_not_answered(revoked_when):
    consumer = FakeConsumer({A: Log(range(8), 8)})
    thread = thread_on(consumer)
    thread._seek(consumer, A, 0)
    if revoked_when == "forgotten":
        thread.forget([A])
    else:
        consumer._subscription.subscription.assignment.tps.clear()
    assert fetch(thread, {A}) == {}


async def failing():
    raise AssertionError("the assignment is for another address")


async def test_an_end_of_membership_that_nobody_asks_for_is_found():
    done = asyncio.create_task(failing())
    await asyncio.wait([done])
    running = asyncio.create_task(asyncio.sleep(60))
    for pending, task, expected in [
        (None, running, None),
        (KafkaTimeoutError("x"), running, "KafkaTimeoutError"),
        (None, done, "AssertionError: the assignment is for another address"),
    ]:
        coordinator = SimpleNamespace(_pending_exception=pending, _coordination_task=task)
        thread = thread_on(SimpleNamespace(_coordinator=coordinator))
        found = thread.group_error()
        assert (found is None) if expected is None else found.startswith(expected)
    running.cancel()


async def test_a_consumer_that_dies_of_its_own_cancellation_does_not_hold_up_the_process(monkeypatch):
    """aiokafka's fetcher cancels its requests and, with the broker away, raises what it cancelled them with."""
    closed = []

    async def stop(_):
        raise asyncio.CancelledError

    async def close():
        closed.append(True)

    monkeypatch.setattr("faust.transport.drivers.aiokafka.AIOKafkaConsumerThread.on_thread_stop", stop)
    thread = thread_on(SimpleNamespace(_client=SimpleNamespace(close=close)))
    await thread.on_thread_stop()
    assert closed == [True]


def test_a_worker_with_news_asks_briefly_and_one_without_rarely(monkeypatch):
    """A long request for partitions without news would hold up those that have some: half the throughput was lost."""
    now = [100.0]
    monkeypatch.setattr("replayer.engine.fetching.monotonic", lambda: now[0])
    consumer = FakeConsumer({A: Log(range(2), 2)})
    thread = thread_on(consumer)
    thread._seek(consumer, A, 0)
    assert fetch(thread, {A})
    assert consumer._fetcher._fetch_max_wait_ms == 20
    now[0] += 1
    assert fetch(thread, {A}) == {}
    assert consumer._fetcher._fetch_max_wait_ms == 20
    now[0] += 2
    assert fetch(thread, {A}) == {}
    assert consumer._fetcher._fetch_max_wait_ms == 500
