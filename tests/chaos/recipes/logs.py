"""Recipes against the logs themselves: what is in them, what is taken out, what they are."""

from __future__ import annotations

import time
import zlib

from aiokafka.admin.records_to_delete import RecordsToDelete

from replayer.core.faults import Emission
from tests.chaos.cluster import CHANGELOG, PARTITIONS
from tests.chaos.feed import Fate
from tests.chaos.recipes.processes import EXACT, kill
from tests.chaos.trial import Recipe, Trial, by_key
from tests.e2e.roles import Role, until
from topics.catalogue import DEAD_LETTERS, TOOL_EVENTS

_RETENTION_S = 7.0


def _expire(trial: Trial) -> None:
    """What is behind is deleted unread, half of the logs at a time: a gap that is told, and the rest."""
    cluster = trial.cluster
    for number in trial.strikes(3):
        for worker in cluster.running:
            worker.kill()
        trial.feed.settle()
        trial.history.keep()  # the oracle must know what had been folded
        committed, ends = cluster.committed(), cluster.ends()
        doomed = {tp: offset for tp, offset in ends.items() if (tp.partition + number) % 2 and offset > 0}
        for tp, end in doomed.items():
            trial.history.expired |= {(*tp, offset) for offset in range(committed.get(tp, 0), end)}
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
    """The changelog is compacted while it is written and read."""
    cluster = trial.cluster
    cluster.configure(
        CHANGELOG,
        segment_ms="1000",
        min_cleanable_dirty_ratio="0.01",
        max_compaction_lag_ms="1000",
        min_compaction_lag_ms="0",
    )
    kill(trial)
    trial.feed.finish()
    until(lambda: cluster.compacted() > 0.05, "the changelog is compacted")  # most rows are written once


def _bury_nowhere(trial: Trial) -> None:
    """Dead letters find no broker that takes them, while poison arrives."""
    cluster = trial.cluster
    for _ in trial.strikes(3):
        cluster.configure(DEAD_LETTERS.name, min_insync_replicas="2")
        time.sleep(4)
        trial.feed.settle()
        cluster.configure(DEAD_LETTERS.name)


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
    trial.watch.forget()
    cluster.create_topics()
    trial.feed.reach(trial.events * 3 // 4)
    trial.feed.settle()
    for worker in cluster.workers:
        _refuses(worker)
        worker.start()
    for worker in cluster.workers:
        _refuses(worker)
    cluster.start_over()
    trial.history.anew = True
    trial.watch.forget()
    cluster.start(*cluster.workers)


def _refuses(worker: Role) -> None:
    until(lambda: not worker.running, f"it ends\n{worker.tail()}")
    assert worker.exit_code == 1, worker.tail()
    assert "If it was recreated on purpose" in worker.since_start(), worker.tail()


_TRANSACTION_S = 2.0

TRANSACTIONS = Recipe("transactional producers", kill, EXACT, transaction=40)
EXPIRE = Recipe("records deleted below the position", _expire, EXACT)
MISROUTE = Recipe("misrouted keys", kill, EXACT, route=_misroute)
OUTDATE = Recipe(
    "away longer than delete.retention.ms", _outdate, EXACT, settings={"DELETE_RETENTION_H": str(_RETENTION_S / 3600)}
)
COMPACT = Recipe(
    "changelog compacted, then a cold start", _compact, EXACT, properties={"log.cleaner.backoff.ms": "500"}
)
NO_LETTERS = Recipe("dead-letter topic unavailable", _bury_nowhere, EXACT)
RECREATE = Recipe("source topic deleted and recreated", _recreate, EXACT)
OUTLIVE = Recipe(
    "a transaction outlives its time-out",
    _outlive,
    {"exactly_once": "every event once: a new producer, and the step is folded again"},
    workers=1,
    module="tests.chaos.mutants.mid_transaction",
    settings={"TRANSACTION_TIMEOUT_S": str(_TRANSACTION_S), "SESSION_TIMEOUT_S": "30", "HEARTBEAT_INTERVAL_S": "3"},
)
