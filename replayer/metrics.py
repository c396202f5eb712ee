"""Every metric, its type and its help. Nothing is registered at import: each `Metrics()` has its own registry.

It has the shape of `engine.measures.Measures` and of `serve.ports.WebMetrics`, so that those rooms need not know it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from replayer.core.outcome import Folded
from topics import deadletter
from topics.catalogue import DEAD_LETTERS

_BATCH = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)


class Metrics:
    """The metrics of one process. Labels are names of the deployment (topics, tables, operations), never of callers."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        build = Gauge("replayer_build", "Always 1; the version is in the label.", ["version"], registry=registry)
        build.labels(version("replayer")).set(1)

        # Folding
        self._outcomes = Counter(
            "replayer_events",
            "Events folded, by outcome: folded, duplicate, variant, late, reprocessed, dead_letter and so on. "
            "One event may count in several.",
            ["table", "outcome"],
            registry=registry,
        )
        self._dead_letters = Counter(
            "replayer_dead_letters", "Records sent to dead-letters, by reason.", ["table", "reason"], registry=registry
        )
        self._rows = Counter("replayer_rows", "Rows written to a table's changelog.", ["table"], registry=registry)
        self._batch = Histogram(
            "replayer_batch_records", "Records in one batch.", ["table"], buckets=_BATCH, registry=registry
        )
        self._fold_s = Histogram(
            "replayer_fold_seconds", "Pure work of one batch.", ["table"], buckets=_SECONDS, registry=registry
        )
        self._commit_s = Histogram(
            "replayer_commit_seconds",
            "From a folded batch to the broker's word for its rows, sends and offsets.",
            ["table"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._store_s = Histogram(
            "replayer_store_seconds", "Writing one batch to RocksDB.", ["table"], buckets=_SECONDS, registry=registry
        )

        # Position
        self._position = Gauge(
            "replayer_position",
            "Next offset to be folded, of the partitions this process has folded since it started.",
            ["table", "topic", "partition"],
            registry=registry,
        )
        self._gaps = Counter(
            "replayer_gap_offsets",
            "Offsets that had expired from a source before they were folded, noticed since this process started.",
            ["table", "topic", "partition"],
            registry=registry,
        )
        self._sought_back = Counter(
            "replayer_sought_back",
            "Batches that did not begin at the table's position and were fetched again from there.",
            ["table"],
            registry=registry,
        )
        self._transactions = Counter(
            "replayer_transactions",
            "Batches made durable (committed), and attempts whose outcome had to be found out (failed).",
            ["table", "outcome"],
            registry=registry,
        )

        self._lag = Gauge(
            "replayer_lag",
            "Offsets between the end of a source (read_committed) and what its table has taken up, for the partitions "
            "this process owns; the batch under way counts as taken up. Asked every 5 s, absent where it is not known.",
            ["table", "topic", "partition"],
            registry=registry,
        )

        self._ahead = Gauge(
            "replayer_ahead",
            "Offsets sent on to a topic (of foreign topics) and not folded yet, in all its partitions; above "
            "REPLAYER_FOREIGN_AHEAD_RECORDS no more are sent on. Asked every 5 s.",
            ["topic"],
            registry=registry,
        )

        # Group
        self._rebalances = Counter(
            "replayer_rebalances",
            "Times this process was told its partitions: once in each rebalance of its group.",
            registry=registry,
        )
        self._generation = Gauge(
            "replayer_generation", "The group's generation as of the last of these.", registry=registry
        )

        # Recovery
        self._recovered = Counter(
            "replayer_recovered_rows", "Rows read back from a changelog.", ["table"], registry=registry
        )
        self._set_aside = Counter(
            "replayer_state_set_aside",
            "Local states of a partition that could not be used and were set aside and rebuilt, by reason.",
            ["table", "reason"],
            registry=registry,
        )

        # Web
        self._requests = Counter(
            "replayer_requests", "Answers, by operation and HTTP status.", ["operation", "status"], registry=registry
        )
        self._request_s = Histogram(
            "replayer_request_seconds", "Time to answer.", ["operation"], buckets=_SECONDS, registry=registry
        )
        self._forwarded = Counter(
            "replayer_forwarded_requests",
            "Questions put to the worker that owns the partition, by the HTTP status of its answer (none: no answer).",
            ["operation", "status"],
            registry=registry,
        )
        self._rate_limited = Counter(
            "replayer_rate_limited_requests", "Requests refused because their caller made too many.", registry=registry
        )

    def step(
        self,
        table: str,
        partition: int,
        offsets: Mapping[str, int],
        records: int,
        rows: int,
        folded: Folded,
        gaps: Sequence[tuple[str, tuple[int, int]]],
        fold_s: float,
        durable_s: float,
        store_s: float,
    ) -> None:
        """A batch of a table partition is durable and stored. `offsets`: topic to next offset; `gaps`: [start, end)."""
        for outcome, count in folded.counts.items():
            self._outcomes.labels(table, outcome).inc(count)
        for send in folded.sends:
            if send.topic == DEAD_LETTERS.name:
                self._dead_letters.labels(table, _reason(send.headers)).inc()
        self._rows.labels(table).inc(rows)
        self._batch.labels(table).observe(records)
        self._fold_s.labels(table).observe(fold_s)
        self._commit_s.labels(table).observe(durable_s)
        self._store_s.labels(table).observe(store_s)
        self._transactions.labels(table, "committed").inc()
        for topic, offset in offsets.items():
            self._position.labels(table, topic, partition).set(offset)
        for topic, (start, end) in gaps:
            self._gaps.labels(table, topic, partition).inc(end - start)

    def sought_back(self, table: str) -> None:
        """A batch did not begin at the table's position."""
        self._sought_back.labels(table).inc()

    def transaction_failed(self, table: str) -> None:
        """A batch was not confirmed at the first attempt."""
        self._transactions.labels(table, "failed").inc()

    def state_set_aside(self, table: str, why: str) -> None:
        """A partition's local state could not be used. `why`: a short constant."""
        self._set_aside.labels(table, why).inc()

    def recovered(self, table: str, rows: int) -> None:
        """Rows came back from the changelog."""
        self._recovered.labels(table).inc(rows)

    def assigned(self, generation: int) -> None:
        """The group has told this process its partitions."""
        self._rebalances.inc()
        self._generation.set(generation)

    def lag(self, lags: Mapping[tuple[str, str, int], int]) -> None:
        """Lag by (table, topic, partition): all that is known now. What was known before is forgotten."""
        self._lag.clear()
        for labels, offsets in lags.items():
            self._lag.labels(*labels).set(offsets)

    def ahead(self, waiting: Mapping[str, int]) -> None:
        """How much of what was sent on waits, by topic."""
        for topic, offsets in waiting.items():
            self._ahead.labels(topic).set(offsets)

    def answered(self, operation: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(operation, status).inc()
        self._request_s.labels(operation).observe(seconds)
        if status == 429:
            self._rate_limited.inc()

    def forwarded(self, operation: str, status: int | None) -> None:
        """Another worker was asked; `status` None: it did not answer."""
        self._forwarded.labels(operation, "none" if status is None else status).inc()


def _reason(headers: Sequence[tuple[str, bytes | None]]) -> str:
    for name, value in headers:
        if name == deadletter.REASON and value is not None:
            reason = value.decode("utf-8", "replace")
            return reason if reason in deadletter.REASONS else "unknown"
    return "unknown"
