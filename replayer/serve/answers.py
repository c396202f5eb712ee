"""What is answered: the JSON of every view as a model. Answers are checked against it, and /openapi.json shows it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from topics.commands import ReplaySpec
from topics.fields import Sha256
from topics.progress import Coverage, ResultsLocation, State

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"}, description="RFC 3339, UTC, microseconds")]
Tally = Annotated[int, Field(ge=0)]
WorkflowStatus = Literal["running", "completed", "failed", "overridden"]
DecisionStatus = Literal["open", "answered", "overridden", "completed", "failed"]
NextCursor = Annotated[str | None, Field(description="`cursor` of the next page; null: this was the last")]


class Answer(BaseModel):
    """Nothing is served that is not described, and all that is described is served: null where there is nothing."""

    model_config = ConfigDict(extra="forbid", json_schema_serialization_defaults_required=True)


class WorkflowMarks(Answer):
    """What is odd about a workflow's events. `late` and `duplicates` depend on how they arrived, the others do not."""

    conflicts: Annotated[int, Field(ge=0, description="event ids that stand for more than one content")]
    future_versions: Annotated[int, Field(ge=0, description="events of a schema version above this release's")]
    late: Tally
    duplicates: Tally
    overflow: Annotated[list[str], Field(description="which lists hold only their smallest values")]


class Expired(Answer):
    """Offsets [start, end) of a source had expired before this table folded them: what they held is not in it."""

    topic: str
    partition: Tally
    start: Tally
    end: Tally
    found_at: Annotated[Moment, Field(description="when it was noticed")]


class Workflow(Answer):
    """A workflow at a glance."""

    tenant_id: str
    workflow_id: str
    status: WorkflowStatus
    first_occurred_at: Moment | None
    last_occurred_at: Moment | None
    last_commit_ts: Moment | None
    events: Annotated[int, Field(ge=0, description="distinct: a duplicate is not counted")]
    counts: Annotated[dict[str, int], Field(description="by event type")]
    agents: list[str]
    correlation_ids: list[str]
    trace_ids: list[str]
    templates: Annotated[list[str], Field(description="template_id@version")]
    models: Annotated[list[str], Field(description="provider/model@version")]
    tools: list[str]
    policy_outcomes: dict[str, int]
    marks: WorkflowMarks
    gaps: Annotated[
        list[Expired],
        Field(description="of the workflow's partition: events of it may be missing; the first hundred, by topic"),
    ]
    applied: Annotated[dict[str, int], Field(description="by source topic: the offset it has been folded up to")]
    digest: Annotated[Sha256, Field(description="of all events, in any order: equal for equal timelines")]
    projection_version: Annotated[int, Field(description="digests of unequal versions are incomparable")]


class WorkflowList(Answer):
    """Workflows in the order of (tenant_id, workflow_id), of all partitions. A page may be shorter than `limit`."""

    items: list[Workflow]
    next_cursor: NextCursor


class Position(Answer):
    """Where an event stands in the log: a pointer to its content, which stays under the topic's own access rules."""

    topic: str
    partition: Tally
    offset: Tally
    index: Annotated[int, Field(ge=0, description="within the record")]


class EventMarks(Answer):
    """What is odd about an event. Nothing is fixed in silence."""

    conflict: Annotated[bool, Field(description="its event_id stands for more than one content")]
    late: bool
    future_version: Annotated[bool, Field(description="of a schema version above this release's: `data` is null")]
    child_before_parent: bool


class TimelineItem(Answer):
    """An event: the envelope's fields (but `subject_id`, which is confidential), where it stands in the log, and the
    public and internal part of its `data`.
    """

    event_id: str
    event_type: str
    schema_version: int
    family: Annotated[str | None, Field(description="the topic events of this type travel on")]
    workflow_id: str
    tenant_id: str
    occurred_at: Annotated[Moment, Field(description="the producer's clock")]
    commit_ts: Annotated[Moment, Field(description="the log's clock, never going back within a workflow")]
    source: str
    agent_id: str
    decision_id: str | None
    parent_event_id: str | None
    correlation_id: str | None
    original_event_id: str | None
    trace_id: str | None
    span_id: str | None
    key_id: str | None
    variant: Annotated[str, Field(description="tells contents under one event_id apart")]
    position: Position
    data: dict[str, Any] | None
    marks: EventMarks


class Timeline(Answer):
    """The events of one workflow, in the order asked for."""

    items: list[TimelineItem]
    next_cursor: NextCursor


class Tokens(Answer):
    """Of all model invocations of a decision."""

    input: Tally
    output: Tally


class Judgement(Answer):
    """The latest feedback on a decision."""

    score: float | None
    label: str | None
    evaluator: str | None
    reviewer_kind: str | None
    downstream_outcome: str | None


class FeedbackSummary(Answer):
    """How often a decision was judged, and how last."""

    count: Tally
    latest: Judgement | None


class Decision(Answer):
    """What one decision came to. `decision_id` null: the workflow's own, of the events that name none."""

    decision_id: str | None
    status: DecisionStatus
    first_occurred_at: Moment
    last_occurred_at: Moment
    events: Tally
    counts: Annotated[dict[str, int], Field(description="by event type")]
    agents: list[str]
    template: Annotated[str | None, Field(description="the latest used: template_id@version")]
    templates: list[str]
    model: Annotated[str | None, Field(description="the latest used: provider/model@version")]
    models: list[str]
    latency_ms: Annotated[int, Field(ge=0, description="of all model invocations together")]
    tokens: Tokens
    tools: list[str]
    policy_outcomes: dict[str, int]
    policies: Annotated[list[str], Field(description="policy_id@version outcome")]
    feedback: FeedbackSummary
    overflow: Annotated[list[str], Field(description="which lists hold only their smallest values")]


class Chain(Answer):
    """An event and its ancestors, the first known one first."""

    items: list[TimelineItem]
    ends: Annotated[
        Literal["root", "missing", "cycle", "length"],
        Field(description="why it goes no further back; missing: the parent is not in the workflow, yet or at all"),
    ]
    missing: Annotated[str | None, Field(description="the event_id of that parent")]
    look_for_it: Annotated[
        str | None,
        Field(description="what to ask whether another workflow of its correlation or trace has that parent"),
    ]


class EventList(Answer):
    """Events by (tenant_id, workflow_id), of all partitions. A page may be shorter than `limit`."""

    items: list[TimelineItem]
    next_cursor: NextCursor


class ToolCall(Answer):
    """A call of a tool, and what came of it."""

    call_id: str
    tool_name: str | None
    tool_version: str | None
    decision_id: str | None
    status: Literal["pending", "completed", "failed"]
    attempts: Annotated[int, Field(ge=0, description="events that say it was called")]
    started: Annotated[str | None, Field(description="the first of them; null: nobody said so")]
    ended: Annotated[str | None, Field(description="the event that says how it ended; null: nobody did")]
    first_at: Moment
    last_at: Moment
    latency_ms: Tally | None
    orphan: Annotated[bool, Field(description="an end without its call")]


class ToolCallList(Answer):
    """Calls by when they were first spoken of."""

    items: list[ToolCall]
    next_cursor: NextCursor


class DecisionList(Answer):
    """The decisions of one workflow in the order of their ids, its own first."""

    items: list[Decision]
    next_cursor: NextCursor


class Wish(Answer):
    """Who wanted a replay to stop."""

    command_id: str
    requester: str
    requested_at: Moment


class Refused(Wish):
    """A command that was not obeyed."""

    reason: str


class Replay(Answer):
    """A replay: who asked for what, how far it is, and where its results are."""

    replay_id: str
    state: State
    cancelling: bool
    name: str | None
    purpose: str | None
    requester: str | None
    requested_at: Moment | None
    spec: ReplaySpec | None
    version: Tally
    read: Tally
    matched: Tally
    undecodable: Tally
    total: Annotated[int, Field(ge=0, description="offsets in all ranges: never fewer than records")]
    digest: Sha256 | None
    coverage: Coverage | None
    results: ResultsLocation | None
    error: str | None
    started_at: Moment | None
    updated_at: Moment | None
    ended_at: Moment | None
    cancel: Wish | None
    refused: list[Refused]
    refused_more: bool
