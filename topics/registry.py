"""Every event type this release knows: its family (and so its topic), its schema version, the model of its `data`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from topics.families.feedback import FeedbackReceived
from topics.families.model import ModelInvocationCompleted, ModelInvocationFailed
from topics.families.policy import PolicyEvaluated
from topics.families.stage import StageCompleted, StageFailed, StageStarted
from topics.families.tool import RetrievalPerformed, ToolCallCompleted, ToolCallFailed, ToolCallStarted
from topics.families.workflow import (
    HumanOverride,
    PlanCreated,
    RequestReceived,
    ResponseGenerated,
    ToolSelected,
    WorkflowCompleted,
    WorkflowFailed,
)
from topics.fields import Model

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""`data` of one version to `data` of the next: a new object, made of nothing but the old one. The old one stays."""


@dataclass(frozen=True, slots=True)
class EventType:
    """One event type. `family` is the name of its topic.

    `schema_version` is the version this release writes; `upcasters[v - 1]` makes version v + 1 of version v, so there
    is one less of them. Events in the log are never rewritten.
    """

    name: str
    family: str
    schema_version: int
    data: type[Model]
    upcasters: tuple[Upcaster, ...] = ()

    def __post_init__(self) -> None:
        if len(self.upcasters) != self.schema_version - 1:
            raise TypeError(f"{self.name} is in version {self.schema_version}: it needs an upcaster from each before")


_WORKFLOW, _MODEL, _TOOL = "workflow-events", "model-invocations", "tool-events"
_POLICY, _FEEDBACK, _STAGE = "policy-events", "feedback-events", "stage-events"

EVENT_TYPES: Mapping[str, EventType] = MappingProxyType(
    {
        event_type.name: event_type
        for event_type in (
            EventType("workflow.request_received", _WORKFLOW, 1, RequestReceived),
            EventType("workflow.plan_created", _WORKFLOW, 1, PlanCreated),
            EventType("workflow.tool_selected", _WORKFLOW, 1, ToolSelected),
            EventType("workflow.response_generated", _WORKFLOW, 1, ResponseGenerated),
            EventType("workflow.human_override", _WORKFLOW, 1, HumanOverride),
            EventType("workflow.completed", _WORKFLOW, 1, WorkflowCompleted),
            EventType("workflow.failed", _WORKFLOW, 1, WorkflowFailed),
            EventType("model.invocation_completed", _MODEL, 1, ModelInvocationCompleted),
            EventType("model.invocation_failed", _MODEL, 1, ModelInvocationFailed),
            EventType("tool.call_started", _TOOL, 1, ToolCallStarted),
            EventType("tool.call_completed", _TOOL, 1, ToolCallCompleted),
            EventType("tool.call_failed", _TOOL, 1, ToolCallFailed),
            EventType("retrieval.performed", _TOOL, 1, RetrievalPerformed),
            EventType("policy.evaluated", _POLICY, 1, PolicyEvaluated),
            EventType("feedback.received", _FEEDBACK, 1, FeedbackReceived),
            EventType("stage.started", _STAGE, 1, StageStarted),
            EventType("stage.completed", _STAGE, 1, StageCompleted),
            EventType("stage.failed", _STAGE, 1, StageFailed),
        )
    }
)

BY_DATA: Mapping[type[Model], EventType] = MappingProxyType({known.data: known for known in EVENT_TYPES.values()})
FAMILIES: tuple[str, ...] = tuple(dict.fromkeys(known.family for known in EVENT_TYPES.values()))
