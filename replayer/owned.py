"""The engine's tables as the views see them."""

from __future__ import annotations

from replayer.core.outcome import Rows
from replayer.engine.engine import Engine
from replayer.kafka.partitioner import partition_of
from replayer.serve.ports import Status


class OwnedTables:
    """Implements `serve.ports.Tables` over an engine."""

    def __init__(self, engine: Engine, own_url: str) -> None:
        self._engine, self._own_url = engine, own_url
        counts = {spec.partitions for spec in engine.specs.values() if not spec.feeds}
        if len(counts) != 1:
            raise ValueError("all tables that views ask for have one partition count")
        (self._partitions,) = counts

    @property
    def own_url(self) -> str:
        return self._own_url

    def partitions(self, table: str, /) -> int:
        return self._engine.specs[table].partitions

    def partition_of(self, key: str, /) -> int:
        return partition_of(key.encode(), self._partitions)

    def rows(self, table: str, partition: int, /) -> Rows | None:
        return self._engine.rows(table, partition)

    def owner(self, table: str, partition: int, /) -> str | None:
        return self._engine.owner(table, partition)

    def status(self) -> Status:
        engine = self._engine
        assigned, rebalancing = engine.assigned, engine.rebalancing
        if engine.failure is not None:
            detail = "the worker is ending after a failure; its log says which"
        elif rebalancing:
            detail = "the group is rebalancing"
        elif not assigned:
            detail = "waiting for partitions"
        elif not engine.ready:
            detail = "recovering tables from their changelogs"
        else:
            detail = "ready"
        return Status(assigned, engine.ready and engine.failure is None, rebalancing, detail)
