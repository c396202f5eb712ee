"""A decision: what one `decision_id` of a workflow came to, and how an event changes it.

Events without a decision_id belong to the workflow's own decision (the empty name). Parent links never move an event
to another decision, so no order of arrival changes anything. A decision keeps the positions it has applied, as the
head does: after a torn write one of the two may have an event the other has not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from replayer.core import capped
from replayer.core.capped import Values
from replayer.core.head import Rank, Used, later
from replayer.core.rows import FORMAT_BYTE, decoded
from topics.fast import Event
from topics.fields import rfc3339

OPEN, ANSWERED, OVERRIDDEN, COMPLETED, FAILED = "open", "answered", "overridden", "completed", "failed"

_STATUS = {
    "workflow.request_received": OPEN,
    "workflow.response_generated": ANSWERED,
    "workflow.human_override": OVERRIDDEN,
    "workflow.completed": COMPLETED,
    "workflow.failed": FAILED,
}


class Feedback(msgspec.Struct, array_like=True, frozen=True):
    """The latest judgement on a decision."""

    score: float | None
    label: str | None
    evaluator: str | None
    reviewer_kind: str | None
    downstream_outcome: str | None


class Decision(msgspec.Struct, array_like=True, gc=False):
    """One decision. `events` counts distinct variants and is its version: it grows with every change.

    `template` and `model` are the latest used by (occurred, event_id, variant); the sets hold all, capped.
    """

    decision_id: str
    status: str = OPEN
    status_at: Rank | None = None
    first_us: int = 2**63 - 1
    last_us: int = -(2**63)
    events: int = 0
    counts: dict[str, int] = {}
    agents: Values = ()
    template: str | None = None
    template_at: Rank | None = None
    templates: Values = ()
    model: str | None = None
    model_at: Rank | None = None
    models: Values = ()
    latency_ms: int = 0  # of all model invocations
    tokens_in: int = 0
    tokens_out: int = 0
    tools: Values = ()
    policy_outcomes: dict[str, int] = {}
    policies: Values = ()  # policy_id@version outcome
    feedbacks: int = 0
    feedback: Feedback | None = None
    feedback_at: Rank | None = None
    overflow: Values = ()
    applied: dict[str, int] = {}


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Decision).decode


def encode_decision(decision: Decision) -> bytes:
    return FORMAT_BYTE + _encode(decision)


def decode_decision(value: bytes) -> Decision:
    """Raises UnknownRowFormat, DamagedRow."""
    return decoded("decision", value, _decode)


def apply(decision: Decision, event: Event, rank: Rank, used: Used) -> None:
    """Count a variant the decision has not counted. `used`: of the event."""
    occurred_us = rank[0]
    decision.events += 1
    if occurred_us < decision.first_us:
        decision.first_us = occurred_us
    if occurred_us > decision.last_us:
        decision.last_us = occurred_us
    event_type = event.event_type
    capped.count(decision.counts, event_type)
    if event.agent_id not in decision.agents:
        capped.put(decision, "agents", event.agent_id)
    if (status := _STATUS.get(event_type)) is not None and later(rank, decision.status_at):
        decision.status, decision.status_at = status, rank
    if event.data is not None and (rule := _RULES.get(event_type)) is not None:
        rule(decision, event.data, rank, used)


def _model(decision: Decision, data: Any, rank: Rank, used: Used) -> None:
    model, template = used
    if model not in decision.models:
        capped.put(decision, "models", model)
    if later(rank, decision.model_at):
        decision.model, decision.model_at = model, rank
    if template is not None:
        if template not in decision.templates:
            capped.put(decision, "templates", template)
        if later(rank, decision.template_at):
            decision.template, decision.template_at = template, rank
    if data.latency_ms is not None:
        decision.latency_ms = capped.plus(decision.latency_ms, data.latency_ms)


def _answered(decision: Decision, data: Any, rank: Rank, used: Used) -> None:
    _model(decision, data, rank, used)
    if data.tokens is not None:
        decision.tokens_in = capped.plus(decision.tokens_in, data.tokens.input)
        decision.tokens_out = capped.plus(decision.tokens_out, data.tokens.output)


def _tool(decision: Decision, data: Any, rank: Rank, used: Used) -> None:
    if data.tool_name not in decision.tools:
        capped.put(decision, "tools", data.tool_name)


def _policy(decision: Decision, data: Any, rank: Rank, used: Used) -> None:
    capped.count(decision.policy_outcomes, data.outcome)
    version = "" if data.policy_version is None else f"@{data.policy_version}"
    policy = f"{data.policy_id}{version} {data.outcome}"
    if policy not in decision.policies:
        capped.put(decision, "policies", policy)


def _feedback(decision: Decision, data: Any, rank: Rank, used: Used) -> None:
    decision.feedbacks += 1
    if later(rank, decision.feedback_at):
        decision.feedback_at = rank
        decision.feedback = Feedback(
            data.score, data.label, data.evaluator, data.reviewer_kind, data.downstream_outcome
        )


_RULES: dict[str, Callable[[Decision, Any, Rank, Used], None]] = {
    "model.invocation_completed": _answered,
    "model.invocation_failed": _model,
    "workflow.tool_selected": _tool,
    "tool.call_started": _tool,
    "tool.call_completed": _tool,
    "tool.call_failed": _tool,
    "policy.evaluated": _policy,
    "feedback.received": _feedback,
}


def described(decision: Decision) -> dict[str, Any]:
    """The decision as JSON-ready data, as it is served. `decision_id` null: the workflow's own."""
    return {
        "decision_id": decision.decision_id or None,
        "status": decision.status,
        "first_occurred_at": rfc3339(decision.first_us),
        "last_occurred_at": rfc3339(decision.last_us),
        "events": decision.events,
        "counts": dict(sorted(decision.counts.items())),
        "agents": list(decision.agents),
        "template": decision.template,
        "templates": list(decision.templates),
        "model": decision.model,
        "models": list(decision.models),
        "latency_ms": decision.latency_ms,
        "tokens": {"input": decision.tokens_in, "output": decision.tokens_out},
        "tools": list(decision.tools),
        "policy_outcomes": dict(sorted(decision.policy_outcomes.items())),
        "policies": list(decision.policies),
        "feedback": {
            "count": decision.feedbacks,
            "latest": msgspec.structs.asdict(decision.feedback) if decision.feedback is not None else None,
        },
        "overflow": list(decision.overflow),
    }
