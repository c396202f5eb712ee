"""The route table: every operation the web server answers. Routes, rights and /openapi.json are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import TypeAdapter

from replayer.serve import (
    answers,
    events,
    health,
    index_answers,
    listing,
    policies,
    replays,
    templates,
    touched,
    workflows,
)
from replayer.serve.auth import Role
from replayer.serve.site import Operation
from topics.commands import ReplayId
from topics.fields import Code, Id, WorkflowId

_WORKFLOW: Mapping[str, TypeAdapter[str]] = MappingProxyType({"workflow_id": TypeAdapter(WorkflowId)})
_DECISION: Mapping[str, TypeAdapter[str]] = MappingProxyType({**_WORKFLOW, "decision_id": TypeAdapter(Id)})
_EVENT: Mapping[str, TypeAdapter[str]] = MappingProxyType({**_WORKFLOW, "event_id": TypeAdapter(Id)})
_ANY_EVENT: Mapping[str, TypeAdapter[str]] = MappingProxyType({"event_id": TypeAdapter(Id)})
_REPLAY: Mapping[str, TypeAdapter[str]] = MappingProxyType({"replay_id": TypeAdapter(ReplayId)})

_TEMPLATE: Mapping[str, TypeAdapter[str]] = MappingProxyType({"template_id": TypeAdapter(Id)})
_TEMPLATE_VERSION: Mapping[str, TypeAdapter[str]] = MappingProxyType({**_TEMPLATE, "version": TypeAdapter(Code)})
_POLICY: Mapping[str, TypeAdapter[str]] = MappingProxyType({"policy_id": TypeAdapter(Id)})

_AT_OWNER = (404, 503, 508)
_OF_ALL = (503, 508)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="list_workflows",
        path="/v1/workflows",
        summary="Workflows of all partitions, by (tenant_id, workflow_id)",
        handler=listing.workflows,
        answer=answers.WorkflowList,
        query=listing.WorkflowsQuery,
        refusals=_OF_ALL,
    ),
    Operation(
        name="workflow",
        path="/v1/workflows/{workflow_id}",
        summary="One workflow at a glance",
        handler=workflows.workflow,
        answer=answers.Workflow,
        query=workflows.OfTenant,
        ids=_WORKFLOW,
        refusals=_AT_OWNER,
    ),
    Operation(
        name="timeline",
        path="/v1/workflows/{workflow_id}/timeline",
        summary="What happened in it, event by event",
        handler=workflows.timeline,
        answer=answers.Timeline,
        query=workflows.TimelineQuery,
        ids=_WORKFLOW,
        refusals=_AT_OWNER,
    ),
    Operation(
        name="chain",
        path="/v1/workflows/{workflow_id}/events/{event_id}/chain",
        summary="One of its events and what caused it, parent by parent",
        handler=workflows.chain,
        answer=answers.Chain,
        query=workflows.OfTenant,
        ids=_EVENT,
        refusals=_AT_OWNER,
    ),
    Operation(
        name="events",
        path="/v1/events/{event_id}",
        summary="An event by its id, in whichever workflows of a correlation or a trace have it",
        handler=events.events,
        answer=answers.EventList,
        query=events.EventsQuery,
        ids=_ANY_EVENT,
        refusals=_OF_ALL,
    ),
    Operation(
        name="calls",
        path="/v1/workflows/{workflow_id}/calls",
        summary="Its calls of tools, each with its end; what has only one of the two is there too",
        handler=workflows.calls,
        answer=answers.ToolCallList,
        query=workflows.DecisionsQuery,
        ids=_WORKFLOW,
        refusals=_AT_OWNER,
    ),
    Operation(
        name="decisions",
        path="/v1/workflows/{workflow_id}/decisions",
        summary="Its decisions by id; the workflow's own, of events that name none, comes first and has id null",
        handler=workflows.decisions,
        answer=answers.DecisionList,
        query=workflows.DecisionsQuery,
        ids=_WORKFLOW,
        refusals=_AT_OWNER,
    ),
    Operation(
        name="decision",
        path="/v1/workflows/{workflow_id}/decisions/{decision_id}",
        summary="One of its decisions",
        handler=workflows.decision,
        answer=answers.Decision,
        query=workflows.OfTenant,
        ids=_DECISION,
        refusals=_AT_OWNER,
    ),
    Operation(
        name="templates",
        path="/v1/templates",
        summary="Prompt templates that were used, by id",
        handler=templates.templates,
        answer=index_answers.TemplateList,
        query=templates.ThingsQuery,
        refusals=_OF_ALL,
    ),
    Operation(
        name="template",
        path="/v1/templates/{template_id}",
        summary="The versions of one, and what became of the decisions that used them",
        handler=templates.template,
        answer=index_answers.TemplateVersionList,
        query=templates.ThingsQuery,
        ids=_TEMPLATE,
        refusals=_AT_OWNER,
    ),
    Operation(
        name="template_version",
        path="/v1/templates/{template_id}/versions/{version}",
        summary="One of its versions",
        handler=templates.version,
        answer=index_answers.TemplateVersion,
        ids=_TEMPLATE_VERSION,
        refusals=_AT_OWNER,
    ),
    Operation(
        name="template_decisions",
        path="/v1/templates/{template_id}/versions/{version}/decisions",
        summary="The decisions that used it, by time, of all partitions",
        handler=templates.decisions,
        answer=index_answers.TemplateDecisionList,
        query=templates.UsedByQuery,
        ids=_TEMPLATE_VERSION,
        refusals=_OF_ALL,
    ),
    Operation(
        name="compare_templates",
        path="/v1/templates/{template_id}/compare",
        summary="Two of its versions side by side",
        handler=templates.compare,
        answer=index_answers.Comparison,
        query=templates.CompareQuery,
        ids=_TEMPLATE,
        refusals=_AT_OWNER,
    ),
    Operation(
        name="policy",
        path="/v1/policies/{policy_id}",
        summary="What a policy said, version by version",
        handler=policies.policy,
        answer=index_answers.Policy,
        query=templates.ThingsQuery,
        ids=_POLICY,
        refusals=_AT_OWNER,
    ),
    Operation(
        name="policy_outcomes",
        path="/v1/policies/{policy_id}/outcomes",
        summary="Its evaluations by time; none of them says what it was about",
        handler=policies.outcomes,
        answer=index_answers.EvaluationList,
        query=policies.OutcomesQuery,
        ids=_POLICY,
        refusals=_OF_ALL,
    ),
    Operation(
        name="touched_decisions",
        path="/v1/decisions",
        summary="The decisions that a tool, a model, a document or an index has touched, by time",
        handler=touched.decisions,
        answer=index_answers.TouchedDecisionList,
        query=touched.TouchedQuery,
        refusals=_OF_ALL,
    ),
    Operation(
        name="replay",
        path="/v1/replays/{replay_id}",
        summary="How a replay fares",
        handler=replays.replay,
        answer=answers.Replay,
        ids=_REPLAY,
        refusals=_AT_OWNER,
    ),
    Operation(
        name="livez",
        path="/livez",
        summary="Does the event loop turn?",
        handler=health.livez,
        answer=health.Alive,
        needs=None,
    ),
    Operation(
        name="readyz",
        path="/readyz",
        summary="Can this worker answer?",
        handler=health.readyz,
        answer=health.Ready,
        needs=None,
        refusals=(503,),
    ),
    Operation(
        name="metrics",
        path="/metrics",
        summary="Counters, for Prometheus",
        handler=health.metrics,
        answer="text/plain",
    ),
    Operation(
        name="openapi",
        path="/openapi.json",
        summary="This description",
        handler=health.openapi,
        answer="application/json",
    ),
)

PROBES: tuple[Operation, ...] = tuple(
    operation for operation in OPERATIONS if operation.name in ("livez", "readyz", "metrics", "openapi")
)
"""What a process without timelines of its own answers: the investigator."""

BY_NAME: Mapping[str, Operation] = MappingProxyType({operation.name: operation for operation in OPERATIONS})
PUBLIC: frozenset[str] = frozenset(operation.name for operation in OPERATIONS if operation.needs is None)


def needed(name: str | None) -> Role:
    """The role an operation needs; a reader's, to be told that there is no such path."""
    operation = BY_NAME.get(name or "")
    return (operation.needs if operation else None) or Role.READER
