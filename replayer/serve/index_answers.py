"""What the index answers, as models."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from replayer.serve.answers import Answer, DecisionStatus, Moment, NextCursor, Position, Tally
from topics.families.policy import PolicyOutcome
from topics.fields import LatencyBand

Rate = Annotated[float | None, Field(ge=0, le=1, description="null: of none")]


class Used(Answer):
    """When something was used, and by how many."""

    first_used_at: Moment | None
    last_used_at: Moment | None
    decisions: Tally
    workflows: Tally
    tenants: list[str]
    overflow: Annotated[list[str], Field(description="which lists hold only their smallest values")]


class Template(Used):
    """A prompt template, all its versions together."""

    template_id: str
    versions: Annotated[list[str], Field(description="those that were used, the first hundred")]
    version_count: Tally
    uses: Tally


class TemplateList(Answer):
    """Templates in the order of their ids."""

    items: list[Template]
    next_cursor: NextCursor


class Latency(Answer):
    """Of the uses that say it, in ms; each at most an eighth too large."""

    p50: Tally | None
    p95: Tally | None


class Feedback(Answer):
    """What was said of the decisions; of each its latest feedback."""

    decisions: Annotated[int, Field(ge=0, description="with feedback")]
    scored: Annotated[int, Field(ge=0, description="whose latest feedback has a score")]
    mean_score: float | None


class TemplateVersion(Used):
    """One version of a prompt template, and what became of the decisions that used it."""

    template_id: str
    version: str
    uses: Annotated[int, Field(ge=0, description="model invocations")]
    models: list[str]
    failed: Annotated[int, Field(ge=0, description="of the uses")]
    latency_bands: Annotated[
        dict[LatencyBand | str, int], Field(description="of the uses; `unsaid`: whose events name no band")
    ]
    latency_ms: Latency
    statuses: Annotated[dict[DecisionStatus, int], Field(description="of the decisions")]
    policy_outcomes: Annotated[dict[PolicyOutcome, int], Field(description="decisions with it, of whatever policy")]
    overridden: Annotated[int, Field(ge=0, description="decisions that a person overrode")]
    feedback: Feedback


class TemplateVersionList(Answer):
    """The versions of a template in the order of their names."""

    template_id: str
    items: list[TemplateVersion]
    next_cursor: NextCursor


class Side(Answer):
    """One of the versions compared. Rates are shares of its decisions, `failed` of its uses."""

    version: str
    uses: Tally
    decisions: Tally
    workflows: Tally
    failed: Rate
    policy_outcomes: dict[PolicyOutcome, Rate]
    overridden: Rate
    with_feedback: Rate
    mean_score: float | None
    latency_ms: Latency


class Comparison(Answer):
    """Two versions side by side. Nothing is said of whether a difference means anything: mind the sample sizes."""

    template_id: str
    a: Side
    b: Side


class DecisionFeedback(Answer):
    """Of a decision: how often, and the latest."""

    count: Tally
    score: float | None
    label: str | None


class TemplateDecision(Answer):
    """A decision that used the template in this version."""

    template_id: str
    tenant_id: str
    workflow_id: str
    decision_id: Annotated[str | None, Field(description="null: the workflow's own")]
    version: str
    first_used_at: Moment
    uses: Tally
    status: DecisionStatus | None
    policy_outcomes: list[PolicyOutcome]
    overridden: bool
    feedback: DecisionFeedback


class TemplateDecisionList(Answer):
    """Decisions by their first use, of all partitions. A page may be shorter than `limit`."""

    items: list[TemplateDecision]
    next_cursor: NextCursor


class TouchedDecision(Answer):
    """A decision that what was asked for has touched."""

    name: Annotated[str, Field(description="of what was asked for")]
    tenant_id: str
    workflow_id: str
    decision_id: Annotated[str | None, Field(description="null: the workflow's own")]
    version: Annotated[str | None, Field(description="of what was asked for; null where it says none")]
    first_used_at: Moment


class TouchedDecisionList(Answer):
    """Decisions by when they were touched first; one that met two versions is there twice."""

    items: list[TouchedDecision]
    next_cursor: NextCursor


class Evaluation(Answer):
    """A policy's word on something. There is no field for what it was about."""

    tenant_id: str
    workflow_id: str
    decision_id: str | None
    event_id: str
    variant: str
    occurred_at: Moment
    policy_version: str | None
    outcome: PolicyOutcome
    rule_id: str | None
    enforced_action: str | None
    reason_code: str | None
    position: Position


class EvaluationList(Answer):
    """Evaluations in the order of time, of all partitions. A page may be shorter than `limit`."""

    items: list[Evaluation]
    next_cursor: NextCursor


class PolicyVersion(Answer):
    """What a policy said in one version."""

    version: str | None
    evaluations: Tally
    first_at: Moment | None
    last_at: Moment | None
    tenants: list[str]
    outcomes: dict[PolicyOutcome, int]
    rules: Annotated[dict[str, dict[PolicyOutcome, int]], Field(description="by rule; empty name: events name none")]
    overflow: Annotated[list[str], Field(description="which of these hold only their smallest names")]


class Policy(Answer):
    """What a policy said, version by version."""

    policy_id: str
    items: list[PolicyVersion]
    next_cursor: NextCursor
