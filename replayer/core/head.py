"""The head of a workflow: what is known of it at a glance, and how an event changes it.

All of it is free of the order in which events arrived, except the arrival marks: `late`, `duplicates`, `commit_us`,
`applied` and `reached`. What can be said only once goes to the event that is latest by (occurred, event_id, variant).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from replayer.core import capped
from replayer.core.capped import Values
from replayer.core.rows import CORRELATION, FORMAT_BYTE, TRACE, decoded
from topics.fast import Event
from topics.fields import rfc3339
from topics.projection import PROJECTION_VERSION

Rank = tuple[int, str, bytes]
"""(occurred_us, event_id, variant): total, and known from the event alone."""

Used = tuple[str, str | None]
"""The model and the template of an invocation, by their names in heads and decisions; of other events, nothing."""

MODULUS = 2**256

RUNNING, COMPLETED, FAILED, OVERRIDDEN = "running", "completed", "failed", "overridden"
STATUSES = (RUNNING, COMPLETED, FAILED, OVERRIDDEN)

_STATUS = {
    "workflow.request_received": RUNNING,
    "workflow.completed": COMPLETED,
    "workflow.failed": FAILED,
    "workflow.human_override": OVERRIDDEN,
}


class Head(msgspec.Struct, array_like=True, gc=False):
    """One workflow. Fields are appended, never moved: the row is an array."""

    tenant_id: str
    workflow_id: str
    status: str = RUNNING
    status_at: Rank | None = None
    first_us: int = 2**63 - 1
    last_us: int = -(2**63)
    events: int = 0  # distinct variants
    counts: dict[str, int] = {}  # by event type
    agents: Values = ()
    correlation_ids: Values = ()
    trace_ids: Values = ()
    templates: Values = ()  # id@version
    models: Values = ()  # provider/model@version
    tools: Values = ()
    policy_outcomes: dict[str, int] = {}
    conflicts: int = 0  # event ids with more than one variant
    futures: int = 0  # events of a schema version above this release's
    overflow: Values = ()  # which of the sets above hold only their smallest values
    digest: bytes = bytes(32)
    projection_version: int = PROJECTION_VERSION
    late: int = 0
    duplicates: int = 0
    commit_us: int = 0  # of the last event folded; strictly increasing within the workflow
    applied: dict[str, int] = {}  # next offset by topic
    reached: dict[str, int] = {}  # latest occurred_us seen by topic: what is before it there came late


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Head).decode


def encode_head(head: Head) -> bytes:
    return FORMAT_BYTE + _encode(head)


def decode_head(value: bytes) -> Head:
    """Raises UnknownRowFormat, DamagedRow."""
    return decoded("head", value, _decode)


def add_digest(head: Head, shares: int) -> None:
    """`shares`: the sum of the SHA-256 (big-endian) of the projections of variants counted since."""
    head.digest = ((int.from_bytes(head.digest, "big") + shares) % MODULUS).to_bytes(32, "big")


Threads = dict[tuple[bytes, str], None]
"""Traces and correlations, by the kind of their rows, in the order in which they came."""


def apply(head: Head, event: Event, rank: Rank, used: Used, beyond: Threads) -> None:
    """Count a variant the head has not counted. Its share of the digest is for `add_digest`. `used`: of the event.

    `beyond`: where those threads go that the head has no room for.
    """
    occurred_us = rank[0]
    head.events += 1
    if occurred_us < head.first_us:
        head.first_us = occurred_us
    if occurred_us > head.last_us:
        head.last_us = occurred_us
    event_type = event.event_type
    capped.count(head.counts, event_type)
    if event.agent_id not in head.agents:
        capped.put(head, "agents", event.agent_id)
    if event.correlation_id is not None and event.correlation_id not in head.correlation_ids:
        _thread(beyond, CORRELATION, capped.put(head, "correlation_ids", event.correlation_id))
    if event.trace_id is not None and event.trace_id not in head.trace_ids:
        _thread(beyond, TRACE, capped.put(head, "trace_ids", event.trace_id))
    if (status := _STATUS.get(event_type)) is not None and later(rank, head.status_at):
        head.status, head.status_at = status, rank
    if event.data is None:
        head.futures += 1
    elif (rule := _RULES.get(event_type)) is not None:
        rule(head, event.data, used)


def _thread(beyond: Threads, kind: bytes, name: str | None) -> None:
    if name is not None:
        beyond[kind, name] = None


def later(rank: Rank, than: Rank | None) -> bool:
    return than is None or rank > than


def used(event: Event) -> Used:
    """`provider/model`, with `@version` where it says, and `id@version` of the prompt template, if it says."""
    if event.event_type not in _INVOCATIONS or (data := event.data) is None:
        return _NOTHING
    version, template = data.model_version, data.prompt_template
    return (
        f"{data.provider}/{data.model}" if version is None else f"{data.provider}/{data.model}@{version}",
        None if template is None else f"{template.template_id}@{template.version}",
    )


_INVOCATIONS = frozenset(("model.invocation_completed", "model.invocation_failed"))
_NOTHING: Used = ("", None)


def _model(head: Head, data: Any, used: Used) -> None:
    model, template = used
    if model not in head.models:
        capped.put(head, "models", model)
    if template is not None and template not in head.templates:
        capped.put(head, "templates", template)


def _tool(head: Head, data: Any, used: Used) -> None:
    if data.tool_name not in head.tools:
        capped.put(head, "tools", data.tool_name)


def _policy(head: Head, data: Any, used: Used) -> None:
    capped.count(head.policy_outcomes, data.outcome)


_RULES: dict[str, Callable[[Head, Any, Used], None]] = {
    "model.invocation_completed": _model,
    "model.invocation_failed": _model,
    "workflow.tool_selected": _tool,
    "tool.call_started": _tool,
    "tool.call_completed": _tool,
    "tool.call_failed": _tool,
    "policy.evaluated": _policy,
}


def described(head: Head) -> dict[str, Any]:
    """The head as JSON-ready data, as it is served."""
    return {
        "tenant_id": head.tenant_id,
        "workflow_id": head.workflow_id,
        "status": head.status,
        "first_occurred_at": rfc3339(head.first_us) if head.events else None,
        "last_occurred_at": rfc3339(head.last_us) if head.events else None,
        "last_commit_ts": rfc3339(head.commit_us) if head.events else None,
        "events": head.events,
        "counts": dict(sorted(head.counts.items())),
        "agents": list(head.agents),
        "correlation_ids": list(head.correlation_ids),
        "trace_ids": list(head.trace_ids),
        "templates": list(head.templates),
        "models": list(head.models),
        "tools": list(head.tools),
        "policy_outcomes": dict(sorted(head.policy_outcomes.items())),
        "marks": {
            "conflicts": head.conflicts,
            "future_versions": head.futures,
            "late": head.late,
            "duplicates": head.duplicates,
            "overflow": list(head.overflow),
        },
        "applied": dict(sorted(head.applied.items())),
        "digest": head.digest.hex(),
        "projection_version": head.projection_version,
    }
