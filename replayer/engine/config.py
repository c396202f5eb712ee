"""What the engine must be told. No environment, no defaults for what a user must decide."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from replayer.core.outcome import Folding, Record, Rows, Send
from replayer.native.library import Library

Guarantee = Literal["exactly_once", "at_least_once"]

#: `fold(rows, records, partition, now_ms)`: pure; the engine may call it again with the same records.
Fold = Callable[[Rows, Sequence[Record], int, int], Folding]

#: `implied(rows)`: rows that follow from rows of the changelog and are not in it; pure.
Implied = Callable[[Iterable[tuple[bytes, bytes | None]]], Sequence[tuple[bytes, bytes]]]

#: `poison(record, exception, now_ms)`: the dead letter for a record whose fold raises.
Poison = Callable[[Record, Exception, int], Send]


#: At 2,000 events a second, fewer and larger transactions are also the sooner ones: with 10 ms instead, the broker was
#: the slower for them.
PACE_S = 0.025


@dataclass(frozen=True, slots=True)
class TableSpec:
    """One table: its co-partitioned source topics and the fold that makes rows of their records.

    All topics of `sources` and the changelog have `partitions` partitions; a row lives in the partition of its source.
    `buries`: whether what the fold cannot take becomes dead letters. False where another app folds the same topics and
    does it: once is enough.
    `feeds`: topics of this group's to which what it reads is sent on, and which must not grow without end. Such a table
    keeps no rows but its positions; its source is somebody else's topic, and so is the number of its partitions.
    `implied` makes a fold's `Folded.implied` anew of the rows a changelog brings; None where there never are any.
    `library`: what its fold is done by; it also reads what is fetched and frames the changelog's batches.
    `pace_s`: from the beginning of a step to that of the next, at least, unless a step's worth is there: what comes
    meanwhile is one transaction instead of several; a lone record waits for nothing.
    `after_commit(partition)` is called on the event loop after every durable batch and after an assignment.
    """

    name: str
    sources: tuple[str, ...]
    partitions: int
    fold: Fold
    poison: Poison
    after_commit: Callable[[int], None] | None = None
    buries: bool = True
    implied: Implied | None = None
    feeds: tuple[str, ...] = ()
    library: Library | None = None
    pace_s: float = PACE_S


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Frozen; made from the settings by `replayer.app`."""

    app_id: str
    brokers: Sequence[str]
    data_dir: Path
    instance_id: str
    web_host: str
    web_port: int
    web_url: str
    guarantee: Guarantee = "exactly_once"
    client: Mapping[str, Any] = field(default_factory=dict)  # security: keyword arguments of every aiokafka client
    credentials: Any = None  # the same for Faust: a faust.auth.Credentials
    batch_max_records: int = 4000
    batch_max_bytes: int = 4 << 20
    buffer_batches: int = 8  # per source partition, before fetching of it is suspended
    max_row_bytes: int = (1 << 20) + (64 << 10)  # key and value: what the changelogs have room for, framing apart
    rocksdb_memory_bytes: int = 256 << 20
    delete_retention_ms: int = 24 * 3_600_000
    session_timeout_s: float = 30.0
    heartbeat_interval_s: float = 3.0
    rebalance_timeout_s: float = 60.0
    transaction_timeout_s: float = 60.0
    commit_interval_s: float = 1.0  # at_least_once: how often source offsets are committed
    max_ahead_records: int = 1_000_000  # sent on and not folded yet, before no more are sent on
    metadata_max_age_s: float = 30.0  # how soon it is noticed that partitions were added to a topic
    standby_replicas: int = 0
    stop_grace_s: float = 20.0
    web: Mapping[str, Any] = field(default_factory=dict)  # Faust's web_* settings

    @property
    def exactly_once(self) -> bool:
        return self.guarantee == "exactly_once"
