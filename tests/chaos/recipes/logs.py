"""Recipes against the logs themselves: what is in them, what is taken out, what they are."""

from __future__ import annotations

import time
import zlib
from dataclasses import replace

from aiokafka import TopicPartition
from aiokafka.admin import NewPartitions
from aiokafka.admin.records_to_delete import RecordsToDelete

from replayer.core.faults import Emission
from replayer.kafka.partitioner import partition_of
from tests.chaos.brokerside import CHANGELOG, PARTITIONS
from tests.chaos.feed import Fate
from tests.chaos.recipes.processes import EXACT, kill, overtaken
from tests.chaos.trial import Recipe, Trial, by_key
from tests.chaos.workload import ORDINARY, Workload
from tests.e2e.roles import until
from topics.catalogue import TOOL_EVENTS

_RETENTION_S = 7.0


def _expire(trial: Trial) -> None:
    """What is behind is deleted unread, half of the logs at a time: a gap that is told, and the rest."""
    cluster = trial.cluster
    for number in trial.strikes(3):
        for worker in cluster.running:
            worker.kill()
        trial.feed.settle()
        trial.history.keep()  # the oracle must know what had been folded
        folded, ends = cluster.positions(), cluster.ends()
        doomed = {tp: offset for tp, offset in ends.items() if (tp.partition + number) % 2 and offset > 0}
        for tp, end in doomed.items():
            trial.history.expired |= {(*tp, offset) for offset in range(folded.get(tp, 0), end)}
        requests = {tp: RecordsToDelete(end) for tp, end in doomed.items()}
        cluster.administer(lambda client, wanted=requests: client.delete_records(wanted))
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
    """Dead letters have no topic to go to, while poison arrives: nothing behind it is committed."""
    cluster, feed = trial.cluster, trial.feed
    for number in range(1, 4):
        feed.reach(number * trial.events // 4)
        overtaken(trial)
        cluster.lose_letters()
        feed.reach(len(feed.sent) + trial.events // 8)
        feed.settle()
        time.sleep(_NOWHERE_S)
        committed, buried = cluster.committed(), {at for at, _ in cluster.letters()}
        acked = (sent.at for sent in feed.sent if sent.emission.kind == "poison" and sent.at is not None)
        waiting = [at for at in acked if at not in buried]
        passed = [at for at in waiting if at[2] < committed.get(TopicPartition(*at[:2]), 0)]
        assert waiting, "no poison arrived"
        assert not passed, f"committed past poison that is nowhere: {passed[:5]}"
        cluster.create_topics()


def _outlive(trial: Trial) -> None:
    """A transaction is left open for longer than its time-out, by a worker that nobody replaces meanwhile."""
    for _ in trial.strikes(3):
        worker = trial.pause()
        time.sleep(_TRANSACTION_S + 3)  # the broker looks for such ones once a second
        worker.resume()


def _recreate(trial: Trial) -> None:
    """A source is deleted and made anew: workers stop rather than mix two histories, until somebody decides."""
    cluster, topic = trial.cluster, TOOL_EVENTS.name
    trial.feed.reach(trial.events // 2)
    trial.feed.settle()
    cluster.folded()
    cluster.administer(lambda client: client.delete_topics([topic]))
    for sent in trial.feed.sent:
        if sent.emission.topic == topic:
            sent.fate, sent.offset = Fate.FAILED, None  # it is in no log any more
    cluster.create_topics()
    trial.feed.reach(trial.events * 3 // 4)
    trial.feed.settle()
    _all_refuse(trial, "If it was recreated on purpose")
    cluster.start_over()
    trial.history.anew = True
    cluster.start(*cluster.workers)


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
    feed.route = by_key
    moved = cluster.copy_by_key(topic, _MORE)
    for sent in feed.sent:
        if sent.emission.topic == topic and sent.at is not None:
            _, sent.partition, sent.offset = moved[sent.at]
    cluster.start_over()
    trial.history.anew = True
    cluster.start(*cluster.workers)


_TRANSACTION_S = 2.0
_NOWHERE_S = 4.0
_SEGMENT_S = 1.0
_MORE = PARTITIONS + 2

TRANSACTIONS = Recipe("transactional producers", kill, EXACT, transaction=40)
EXPIRE = Recipe("records deleted below the position", _expire, EXACT)
MISROUTE = Recipe("misrouted keys", kill, EXACT, route=_misroute)
OUTDATE = Recipe(
    "away longer than delete.retention.ms",
    _outdate,
    EXACT,
    # With copies of everything: else it may be given other partitions than those it has something of.
    settings={"DELETE_RETENTION_H": str(_RETENTION_S / 3600), "STANDBY_REPLICAS": "1"},
)
COMPACT = Recipe(
    "changelog compacted, then a cold start", _compact, EXACT, properties={"log.cleaner.backoff.ms": "500"}
)
NO_LETTERS = Recipe(
    "dead-letter topic unavailable",
    _bury_nowhere,
    EXACT,
    workload=lambda seed: Workload(seed, faults=replace(ORDINARY, poison=0.01)),
)
ADD = Recipe("partitions added while running", _add, EXACT)
RECREATE = Recipe("source topic deleted and recreated", _recreate, EXACT)
OUTLIVE = Recipe(
    "a transaction outlives its time-out",
    _outlive,
    {
        "exactly_once": "every event once: a new producer, and the step is folded again",
        "at_least_once": "every event once: there is no transaction, and the step goes on where it stood still",
    },
    workers=1,
    module="tests.chaos.mutants.mid_transaction",
    settings={"TRANSACTION_TIMEOUT_S": str(_TRANSACTION_S), "SESSION_TIMEOUT_S": "30", "HEARTBEAT_INTERVAL_S": "3"},
)
