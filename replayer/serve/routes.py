"""The route table: every operation the web server answers. Routes, rights and /openapi.json are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from replayer.serve import health
from replayer.serve.auth import Role
from replayer.serve.site import Operation

OPERATIONS: tuple[Operation, ...] = (
    Operation("livez", "/livez", "Does the event loop turn?", health.livez, health.Alive, needs=None),
    Operation("readyz", "/readyz", "Can this worker answer?", health.readyz, health.Ready, needs=None, refusals=(503,)),
    Operation("metrics", "/metrics", "Counters, for Prometheus", health.metrics, "text/plain"),
    Operation("openapi", "/openapi.json", "This description", health.openapi, "application/json"),
)

BY_NAME: Mapping[str, Operation] = MappingProxyType({operation.name: operation for operation in OPERATIONS})
PUBLIC: frozenset[str] = frozenset(operation.name for operation in OPERATIONS if operation.needs is None)


def needed(name: str | None) -> Role:
    """The role an operation needs; a reader's, to be told that there is no such path."""
    operation = BY_NAME.get(name or "")
    return (operation.needs if operation else None) or Role.READER
