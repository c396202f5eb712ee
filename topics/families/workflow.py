"""workflow-events: what was asked, planned, chosen, answered, overridden, and how it ended."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from topics.classification import CONFIDENTIAL, INTERNAL, RESTRICTED
from topics.fields import ArtifactRef, Code, Count, Id, Millis, Model, Name, Text


class RequestReceived(Model):
    """A person or a system asked for something. The request itself is an artefact, or restricted text."""

    channel: Annotated[Code | None, INTERNAL] = None
    language: Annotated[Code | None, INTERNAL] = None
    request: Annotated[ArtifactRef | None, INTERNAL] = None
    text: Annotated[Text | None, RESTRICTED] = None
    sequence: Annotated[Count | None, INTERNAL, Field(description="position in the conversation")] = None


class PlanStep(Model):
    """One step of a plan."""

    step_id: Annotated[Id, INTERNAL]
    action: Annotated[Name, INTERNAL]
    tool_name: Annotated[Name | None, INTERNAL] = None


class PlanCreated(Model):
    """What the agent intends to do."""

    plan_id: Annotated[Id | None, INTERNAL] = None
    steps: Annotated[tuple[PlanStep, ...], INTERNAL, Field(max_length=256, fail_fast=True)] = ()
    plan: Annotated[ArtifactRef | None, INTERNAL] = None


class ToolSelected(Model):
    """Which tool the agent chose, and what else it could have chosen."""

    tool_name: Annotated[Name, INTERNAL]
    tool_version: Annotated[Code | None, INTERNAL] = None
    call_id: Annotated[Id | None, INTERNAL] = None
    candidates: Annotated[tuple[Name, ...], INTERNAL, Field(max_length=64, fail_fast=True)] = ()
    reason: Annotated[Text | None, CONFIDENTIAL] = None


class ResponseGenerated(Model):
    """What was answered."""

    response: Annotated[ArtifactRef | None, INTERNAL] = None
    text: Annotated[Text | None, RESTRICTED] = None
    channel: Annotated[Code | None, INTERNAL] = None
    finish_reason: Annotated[Code | None, INTERNAL] = None
    sequence: Annotated[Count | None, INTERNAL, Field(description="position in the conversation")] = None


class HumanOverride(Model):
    """A person took the decision out of the agent's hands. Who it was is confidential; in which role is not."""

    action: Annotated[Literal["approve", "reject", "replace", "stop", "escalate"], INTERNAL]
    actor_id: Annotated[Id | None, CONFIDENTIAL] = None
    actor_role: Annotated[Code | None, INTERNAL] = None
    overridden_event_id: Annotated[Id | None, INTERNAL] = None
    reason_code: Annotated[Code | None, INTERNAL] = None
    reason: Annotated[Text | None, CONFIDENTIAL] = None
    replacement: Annotated[ArtifactRef | None, INTERNAL] = None


class WorkflowCompleted(Model):
    """The workflow came to its end."""

    outcome: Annotated[Code | None, INTERNAL] = None
    result: Annotated[ArtifactRef | None, INTERNAL] = None
    duration_ms: Annotated[Millis | None, INTERNAL] = None


class WorkflowFailed(Model):
    """The workflow broke off. The message may quote what it failed on, so it is confidential."""

    error_class: Annotated[Name, INTERNAL]
    error_code: Annotated[Code | None, INTERNAL] = None
    retryable: Annotated[bool | None, INTERNAL] = None
    message: Annotated[Text | None, CONFIDENTIAL] = None
    details: Annotated[ArtifactRef | None, INTERNAL] = None
    duration_ms: Annotated[Millis | None, INTERNAL] = None
