"""stage-events: stages of a pipeline, with the artefacts they can be run again from."""

from __future__ import annotations

from typing import Annotated

from topics.classification import CONFIDENTIAL, INTERNAL
from topics.fields import ArtifactRef, Attempt, Code, Id, Millis, Model, Name, Text


class StageStarted(Model):
    """A stage took up its input."""

    execution_id: Annotated[Id, INTERNAL]
    stage: Annotated[Name, INTERNAL]
    stage_version: Annotated[Code | None, INTERNAL] = None
    route: Annotated[Name | None, INTERNAL] = None
    queue: Annotated[Name | None, INTERNAL] = None
    attempt: Annotated[Attempt | None, INTERNAL] = None
    input: Annotated[ArtifactRef | None, INTERNAL] = None


class StageCompleted(Model):
    """A stage delivered its artefact."""

    execution_id: Annotated[Id, INTERNAL]
    stage: Annotated[Name, INTERNAL]
    stage_version: Annotated[Code | None, INTERNAL] = None
    route: Annotated[Name | None, INTERNAL] = None
    queue: Annotated[Name | None, INTERNAL] = None
    attempt: Annotated[Attempt | None, INTERNAL] = None
    latency_ms: Annotated[Millis | None, INTERNAL] = None
    input: Annotated[ArtifactRef | None, INTERNAL] = None
    artefact: Annotated[ArtifactRef | None, INTERNAL] = None


class StageFailed(Model):
    """A stage gave up. The message may quote its input, so it is confidential."""

    execution_id: Annotated[Id, INTERNAL]
    stage: Annotated[Name, INTERNAL]
    stage_version: Annotated[Code | None, INTERNAL] = None
    route: Annotated[Name | None, INTERNAL] = None
    queue: Annotated[Name | None, INTERNAL] = None
    attempt: Annotated[Attempt | None, INTERNAL] = None
    latency_ms: Annotated[Millis | None, INTERNAL] = None
    error_class: Annotated[Name, INTERNAL]
    error_code: Annotated[Code | None, INTERNAL] = None
    retryable: Annotated[bool | None, INTERNAL] = None
    message: Annotated[Text | None, CONFIDENTIAL] = None
    input: Annotated[ArtifactRef | None, INTERNAL] = None
