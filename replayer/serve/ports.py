"""What the views need of the engine: which worker owns a partition, and its rows when this one does.

The engine implements `Tables`; `app.py` hands it over. Everything here is synchronous and cheap: every request asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CollectorRegistry

from replayer.core.outcome import Rows

TIMELINES = "timelines"
REPLAYS = "replays"
TEMPLATES = "templates"
"""The tables that views read, by the names the worker gives them."""


@dataclass(frozen=True, slots=True)
class Status:
    """Whether this worker can answer for its share. Ready means assigned, recovered and not rebalancing.

    `detail` is one sentence for an operator. It is served without a token: no addresses of people, no secrets.
    """

    assigned: bool
    recovered: bool
    rebalancing: bool
    detail: str

    @property
    def ready(self) -> bool:
        return self.assigned and self.recovered and not self.rebalancing


class Tables(Protocol):
    """The tables of the whole cluster, as this worker knows them now. Never blocks, never raises for a known table."""

    @property
    def own_url(self) -> str:
        """Base URL (scheme, host, port) under which other workers reach this one: what `owner` answers for it."""
        ...

    def partitions(self, table: str, /) -> int:
        """How many partitions the table has."""
        ...

    def partition_of(self, key: str, /) -> int:
        """The partition a workflow ID (or a replay ID) lives in: murmur2 of its UTF-8 bytes, the same in all tables."""
        ...

    def rows(self, table: str, partition: int, /) -> Rows | None:
        """The partition's rows, or None where this worker is not its active, recovered owner.

        Valid until the next await: ask again after one, the partition may have left.
        """
        ...

    def owner(self, table: str, partition: int, /) -> str | None:
        """Base URL of the partition's active owner, None while none is known. Requests are sent nowhere else."""
        ...

    def status(self) -> Status: ...


class WebMetrics(Protocol):
    """Where the views count themselves, and what /metrics prints. Called on the event loop; must not block."""

    @property
    def registry(self) -> CollectorRegistry: ...

    def answered(self, operation: str, status: int, seconds: float, /) -> None:
        """One answer. `operation` is an operation's name or `unknown`: callers cannot add to the series."""
        ...

    def forwarded(self, operation: str, status: int | None, /) -> None:
        """Another worker was asked and answered with this status; None: it did not answer."""
        ...
