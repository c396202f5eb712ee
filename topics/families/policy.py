"""policy-events: which rule was asked, what it said, what was done about it."""

from __future__ import annotations

from typing import Annotated, Literal

from topics.classification import CONFIDENTIAL, INTERNAL
from topics.fields import ArtifactRef, Code, Id, Millis, Model, Name, Text

PolicyOutcome = Literal["allow", "deny", "redact", "escalate"]


class PolicyEvaluated(Model):
    """A policy was evaluated. What was enforced may differ from what the rule said (a policy in shadow mode)."""

    policy_id: Annotated[Id, INTERNAL]
    policy_version: Annotated[Code | None, INTERNAL] = None
    rule_id: Annotated[Id | None, INTERNAL] = None
    outcome: Annotated[PolicyOutcome, INTERNAL]
    enforced_action: Annotated[Name | None, INTERNAL] = None
    reason_code: Annotated[Code | None, INTERNAL] = None
    evaluated_event_id: Annotated[Id | None, INTERNAL] = None
    latency_ms: Annotated[Millis | None, INTERNAL] = None
    input: Annotated[ArtifactRef | None, INTERNAL] = None
    explanation: Annotated[Text | None, CONFIDENTIAL] = None
