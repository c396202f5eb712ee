"""Recipes against the logs themselves: what is in them, what is taken out, what they are."""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import NewPartitions
from aiokafka.admin.records_to_delete import RecordsToDelete

from replayer.core.faults import Emission
from replayer.kafka.partitioner import partition_of
from tests.chaos import oracle
from tests.chaos.brokerside import CHANGELOG, PARTITIONS
from tests.chaos.checker import differences
from tests.chaos.feed import Fate
from tests.chaos.promise import Promise, promised
from tests.chaos.recipes.processes import kill, overtaken
from tests.chaos.seen import from_rows
from tests.chaos.trial import Recipe, Trial, by_key
from tests.chaos.workload import ORDINARY, Workload
from tests.e2e.roles import Role, until
from topics.catalogue import SOURCES, TOOL_EVENTS

_RETENTION_S = 7.0


def _expire(trial: Trial) -> None:
    """Logs begin a record below what has been folded, with workers running; exactly there; beyond it, of half of them:
    a gap that is told, and the rest.
    """
    cluster, history = trial.cluster, trial.history
    for number in trial.strikes(3):
        if number:
            for worker in cluster.running:
                worker.kill()
            trial.feed.settle()
        folded = cluster.positions()
        assert folded, "nothing had been folded"
        history.keep()  # the oracle must know what had been folded
        if number < 2:
            doomed = {tp: offset - 1 + number for tp, offset in folded.items() if offset > 1}
        else:
            doomed = {tp: end for tp, end in cluster.ends().items() if tp.partition % 2 and end > folded.get(tp, 0)}
            history.expired |= {(*tp, at) for tp, end in doomed.items() for at in range(folded.get(tp, 0), end)}
            assert history.expired, "all had been folded"
        requests = {tp: RecordsToDelete(offset) for tp, offset in doomed.items()}
        cluster.administer(lambda client, wanted=requests: client.delete_records(wanted))
        assert {tp: begin for tp, begin in cluster.begins().items() if tp in doomed} == doomed
        if number:
            cluster.start(*cluster.workers)


def _misroute(emission: Emission) -> int:
    """Every twentieth workflow goes where it does not belong."""
    home = by_key(emission)
    return (home + 1) % PARTITIONS if zlib.crc32(emission.key) % 20 == 0 else home


def _outdate(trial: Trial) -> None:
    """One is away for longer than its changelog keeps tombstones: what it has is not to be trusted."""
    sleeper = trial.cluster.workers[-1]
    for _ in trial.strikes(2):
        assert sleeper.stop() == 0, sleeper.tail()
        time.sleep(_RETENTION_S + 1)
        trial.cluster.start(sleeper)
        assert "older than the changelog keeps tombstones" in sleeper.since_start(), sleeper.tail()


def _compact(trial: Trial) -> None:
    """The changelog is compacted while it is written and read, all but what is written last."""
    cluster = trial.cluster
    cluster.configure(
        CHANGELOG,
        segment_ms=str(int(_SEGMENT_S * 1000)),
        min_cleanable_dirty_ratio="0.01",
        max_compaction_lag_ms="1000",
        min_compaction_lag_ms="0",
    )
    kill(trial)
    overtaken(trial)
    ends = {tp.partition: end for tp, end in cluster.ends_of(CHANGELOG).items()}
    time.sleep(_SEGMENT_S)
    trial.feed.reach(trial.events)  # a segment is closed by the first append that finds it too old
    overtaken(trial)

    def compacted() -> bool:
        cleaned = cluster.cleaned()
        return all(cleaned.get(number, 0) >= end for number, end in ends.items())

    until(compacted, f"the changelog is compacted up to {ends}", lambda: str(cluster.cleaned()))


def _bury_nowhere(trial: Trial) -> None:
    """Dead letters have no topic to go to, while poison arrives: nothing behind it is folded for good or committed.

    Somebody dies of it meanwhile, or so it looks, and whoever follows goes by what the changelog says.
    """
    cluster, feed = trial.cluster, trial.feed
    for number in range(1, 4):
        feed.reach(number * trial.events // 4)
        overtaken(trial)
        cluster.lose_letters()
        feed.reach(len(feed.sent) + trial.events // 8)
        feed.settle()
        time.sleep(_NOWHERE_S)
        settled, buried = cluster.settled(), {at for at, _ in cluster.letters()}
        acked = (sent.at for sent in feed.sent if sent.emission.kind == "poison" and sent.at is not None)
        waiting = [at for at in acked if at not in buried]
        passed = [at for at in waiting if at[2] < settled.get(TopicPartition(*at[:2]), 0)]
        assert waiting, "no poison arrived"
        assert not passed, f"gone on past poison that is nowhere: {passed[:5]}"
        victim = trial.victim()
        victim.kill()
        cluster.create_topics()
        cluster.start(victim)
        trial.struck += 1


def _outlive(trial: Trial) -> None:
    """A transaction is left open for longer than its time-out, by a worker that nobody replaces meanwhile."""
    for _ in trial.strikes(3):
        worker = trial.pause()
        before = worker.log.stat().st_size
        time.sleep(_TRANSACTION_S + 3)  # the broker looks for such ones once a second
        worker.resume()
        if trial.cluster.guarantee == "exactly_once":
            until(
                lambda worker=worker, before=before: _aborted(worker, before), "the broker has aborted it", worker.tail
            )


def _aborted(worker: Role, before: int) -> bool:
    assert worker.running, worker.tail()
    return "a step was not confirmed" in worker.since(before)


def _recreate(trial: Trial) -> None:
    """A source is deleted and made anew: workers stop rather than mix two histories, until somebody decides.

    First behind their backs, and what is there when they return is longer than what they had folded; then under them.
    """
    cluster, topic, eighth = trial.cluster, TOOL_EVENTS.name, trial.events // 8
    for behind_their_backs, begin in ((True, eighth), (False, 5 * eighth)):
        trial.feed.reach(begin)
        trial.feed.settle()
        overtaken(trial)
        if behind_their_backs:
            assert cluster.stop() == [0, 0], cluster.tails()
        old = cluster.records_of(topic)
        cluster.administer(lambda client: client.delete_topics([topic]))
        for sent in trial.feed.sent:
            if sent.emission.topic == topic:
                sent.fate, sent.offset = Fate.GONE, None
        cluster.create_topics()
        trial.feed.reach(begin + (3 if behind_their_backs else 1) * eighth)
        trial.feed.settle()
        if behind_their_backs:
            longer = [tp for tp, end in cluster.ends_of(topic).items() if end > len(old[tp]) > 0]
            assert longer, "the new log is no longer than the old one"
            for worker in cluster.workers:
                worker.start()
        _all_refuse(trial, "If it was recreated on purpose")
        _as_the_logs_say(trial, old)
        cluster.start_over()
        cluster.start(*cluster.workers)
        trial.struck += 1


def _as_the_logs_say(trial: Trial, old: Mapping[TopicPartition, list[Any]]) -> None:
    """Before anything is deleted: the table is what its sources were, as far as it says; nothing of a new log."""
    cluster, others = trial.cluster, [one.name for one in SOURCES if one.name not in {tp.topic for tp in old}]
    held, positions = cluster.records_of(*others) | dict(old), cluster.positions()
    folded = {tp: [one for one in found if one.offset < positions.get(tp, 0)] for tp, found in held.items()}
    expected = oracle.expected(folded, PARTITIONS, lambda _: False)
    rows = {key: value for table in cluster.rows().values() for key, value in table.items()}
    wrong = differences(expected.timelines, from_rows(rows), only_events=False)
    assert expected.timelines, "nothing had been folded"
    assert not wrong, f"two histories are mixed: {wrong[:5]}"


def _all_refuse(trial: Trial, why: str) -> None:
    """They end by themselves and say why; started again they do the same."""
    for again in (False, True):
        for worker in trial.cluster.workers:
            if again:
                worker.start()
        for worker in trial.cluster.workers:
            worker.ended()
            assert worker.exit_code == 1, worker.tail()
            assert why in worker.since_start(), worker.tail()


def _add(trial: Trial) -> None:
    """Partitions are added to a source, and its producer uses them. Workers end; somebody does what they say."""
    cluster, feed, topic = trial.cluster, trial.feed, TOOL_EVENTS.name
    feed.reach(trial.events // 3)
    cluster.administer(lambda client: client.create_partitions({topic: NewPartitions(_MORE)}))
    feed.route = lambda one: partition_of(one.key, _MORE) if one.topic == topic else by_key(one)
    feed.reach(trial.events * 2 // 3)
    _all_refuse(trial, f"Topic {topic} has {_MORE} partitions")
    feed.settle()
    _as_the_logs_say(trial, cluster.records_of(topic))
    trial.struck += 1
    feed.route = by_key
    moved = cluster.copy_by_key(topic, _MORE)
    for sent in feed.sent:
        if sent.emission.topic == topic and sent.at is not None:
            _, sent.partition, sent.offset = moved[sent.at]
    cluster.start_over()
    cluster.start(*cluster.workers)


_TRANSACTION_S = 2.0
_NOWHERE_S = 4.0
_SEGMENT_S = 1.0
_MORE = PARTITIONS + 2
_ALL_END = "all end with 1, also started again, and say what to do; until it is done the tables are as they were"

TRANSACTIONS = Recipe("transactional producers", kill, promised("what was aborted is in no timeline"), transaction=40)
EXPIRE = Recipe(
    "records deleted below the position",
    _expire,
    promised(
        "what was deleted unread is told as gaps, offset for offset, and nothing else is", "every other event once"
    ),
)
MISROUTE = Recipe(
    "misrouted keys",
    kill,
    promised("what is where it does not belong is a dead letter"),
    route=_misroute,
    buries=lambda emission: emission.kind == "poison" or _misroute(emission) != by_key(emission),
)
OUTDATE = Recipe(
    "away longer than delete.retention.ms",
    _outdate,
    promised("what one has that was away for too long is rebuilt"),
    strikes=2,
    # With copies of everything: else it may be given other partitions than those it has something of.
    settings={"DELETE_RETENTION_H": str(_RETENTION_S / 3600), "STANDBY_REPLICAS": "1"},
)
COMPACT = Recipe(
    "changelog compacted, then a cold start",
    _compact,
    promised("what is compacted rebuilds the same"),
    properties={"log.cleaner.backoff.ms": "500"},
)
NO_LETTERS = Recipe(
    "dead-letter topic unavailable",
    _bury_nowhere,
    promised("nothing goes on past poison that is nowhere, and none of it is lost"),
    workload=lambda seed: Workload(seed, faults=replace(ORDINARY, poison=0.01)),
)
ADD = Recipe("partitions added while running", _add, promised(_ALL_END), strikes=1)
RECREATE = Recipe(
    "source topic deleted and recreated",
    _recreate,
    promised(_ALL_END, "every event of the logs there are once, none of a log that is gone"),
    strikes=2,
)
OUTLIVE = Recipe(
    "a transaction outlives its time-out",
    _outlive,
    {
        "exactly_once": Promise("the broker aborts it; the worker takes a new producer and folds the step again"),
        "at_least_once": Promise("there is no transaction, and the step goes on where it stood still"),
    },
    workers=1,
    module="tests.chaos.mutants.mid_transaction",
    settings={"TRANSACTION_TIMEOUT_S": str(_TRANSACTION_S), "SESSION_TIMEOUT_S": "30", "HEARTBEAT_INTERVAL_S": "3"},
)
