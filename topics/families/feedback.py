"""feedback-events: what people, models and the world said afterwards."""

from __future__ import annotations

from typing import Annotated, Literal

from topics.classification import CONFIDENTIAL, INTERNAL
from topics.fields import ArtifactRef, Code, Id, Model, Name, Score, Text


class FeedbackReceived(Model):
    """A judgement on a workflow, a decision or one event. Who gave it and in which words is confidential."""

    score: Annotated[Score | None, INTERNAL] = None
    label: Annotated[Code | None, INTERNAL] = None
    reviewer: Annotated[Id | None, CONFIDENTIAL] = None
    reviewer_kind: Annotated[Literal["human", "model", "system"] | None, INTERNAL] = None
    evaluator: Annotated[Name | None, INTERNAL] = None
    evaluator_version: Annotated[Code | None, INTERNAL] = None
    downstream_outcome: Annotated[Code | None, INTERNAL] = None
    target_event_id: Annotated[Id | None, INTERNAL] = None
    comment: Annotated[Text | None, CONFIDENTIAL] = None
    evidence: Annotated[ArtifactRef | None, INTERNAL] = None
