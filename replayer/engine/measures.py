"""What the engine reports of itself; `replayer.metrics` makes numbers of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from replayer.core.outcome import Folded


class Measures(Protocol):
    """Called on the event loop; must not block."""

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
    ) -> None: ...
    def sought_back(self, table: str) -> None: ...
    def transaction_failed(self, table: str) -> None: ...
    def state_set_aside(self, table: str, why: str) -> None: ...
    def recovered(self, table: str, rows: int) -> None: ...


class NoMeasures:
    """For tests and benchmarks."""

    def step(self, *args: object) -> None: ...
    def sought_back(self, table: str) -> None: ...
    def transaction_failed(self, table: str) -> None: ...
    def state_set_aside(self, table: str, why: str) -> None: ...
    def recovered(self, table: str, rows: int) -> None: ...
