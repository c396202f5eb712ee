"""What travels on `template-usage`: who used what, a record for each shelf (replayer.core.shelf) and step.

Derived from event rows and decisions, so public and internal fields only. A record is a format byte and msgpack. All of
it may come again, in another grouping: a use is known by its event, a touch by its decision, and of standings the one
with the highest version counts.
"""

from __future__ import annotations

import msgspec

Detail = tuple[str | int | bool | None, ...]


class Use(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An event that used the thing, and where it lies in its log.

    `detail`: of a template, model, latency in ms, latency band, whether it failed; of a policy, outcome, rule, enforced
    action, reason.
    """

    tenant_id: str
    workflow_id: str
    decision_id: str  # empty: the workflow's own
    occurred_us: int
    event_id: str
    variant: bytes
    topic: str
    partition: int
    offset: int
    index: int
    detail: Detail


class Touch(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A decision that used the thing, and when it did so first and last, as far as this record knows."""

    tenant_id: str
    workflow_id: str
    decision_id: str
    occurred_us: int
    last_us: int


class Standing(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a decision has come to. `version` grows with every change of it."""

    tenant_id: str
    workflow_id: str
    decision_id: str
    version: int
    status: str
    overridden: bool
    outcomes: tuple[str, ...]  # of policies, sorted
    feedbacks: int
    score: float | None  # of the latest feedback
    label: str | None


class Usage(msgspec.Struct, array_like=True, frozen=True):
    """One record."""

    uses: list[Use]
    touches: list[Touch]
    standings: list[Standing]
