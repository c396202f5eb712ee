"""What running replays must be told. Made by `replayer.app` from the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from topics.bounds import DEFAULT, Limits
from topics.catalogue import REPLAY_PROGRESS, REPLAY_RESULTS, SOURCES

PREFIX: Final = "replayer-inv-"
"""Of every replay's consumer group, transactional id and client id."""


def group_of(replay_id: str) -> str:
    """The consumer group (and transactional id, and client id) a replay has to itself."""
    return PREFIX + replay_id


@dataclass(frozen=True, slots=True)
class InvestigateConfig:
    """Frozen. `client`: security arguments of every aiokafka client; `partition_of(key, count)`: murmur2.

    A checkpoint is written after `commit_records` records, `commit_bytes` of results or `commit_interval_s`, whichever
    comes first and only where there is something new. `transaction_timeout_s` bounds a transaction on both sides.
    """

    brokers: Sequence[str]
    partition_of: Callable[[bytes, int], int]
    client: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = tuple(topic.name for topic in SOURCES)
    progress_topic: str = REPLAY_PROGRESS.name
    results_topic: str = REPLAY_RESULTS.name
    limits: Limits = DEFAULT
    max_concurrent: int = 2
    fetch_records: int = 1_000
    commit_records: int = 10_000
    commit_bytes: int = 8 << 20
    commit_interval_s: float = 1.0
    transaction_timeout_s: float = 60.0
    stall_timeout_s: float = 60.0
    backoff_s: float = 0.2
    longest_backoff_s: float = 30.0
    most_failures: int = 10
    fenced_pause_s: float = 30.0
    sweep_interval_s: float = 600.0
