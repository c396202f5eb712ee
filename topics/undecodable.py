"""Why bytes are no event."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Undecodable:
    """`reason` is one of topics.deadletter's; `detail` names fields and rules, never values."""

    reason: str
    error_class: str
    detail: str
