"""model-invocations: which model was called, with which prompt template, at what cost. Texts are artefacts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from topics.classification import CONFIDENTIAL, INTERNAL
from topics.fields import (
    ArtifactRef,
    Attempt,
    Code,
    Count,
    Id,
    LatencyBand,
    Millis,
    Model,
    Name,
    PromptTemplate,
    Score,
    Text,
)


class Tokens(Model):
    """Tokens billed, by kind."""

    input: Annotated[Count, INTERNAL]
    output: Annotated[Count, INTERNAL]
    cached: Annotated[Count | None, INTERNAL] = None
    reasoning: Annotated[Count | None, INTERNAL] = None


class FeatureValue(Model):
    """A feature the model saw, by reference: its value may be sensitive."""

    name: Annotated[Name, INTERNAL]
    version: Annotated[Code | None, INTERNAL] = None
    value: Annotated[ArtifactRef, INTERNAL]


class ModelInvocationCompleted(Model):
    """A model answered."""

    provider: Annotated[Name, INTERNAL]
    model: Annotated[Name, INTERNAL]
    model_version: Annotated[Name | None, INTERNAL] = None
    prompt_template: Annotated[PromptTemplate | None, INTERNAL] = None
    latency_ms: Annotated[Millis | None, INTERNAL] = None
    latency_band: Annotated[LatencyBand | None, INTERNAL] = None
    tokens: Annotated[Tokens | None, INTERNAL] = None
    finish_reason: Annotated[Code | None, INTERNAL] = None
    temperature: Annotated[Score | None, INTERNAL] = None
    attempt: Annotated[Attempt | None, INTERNAL] = None
    features: Annotated[tuple[FeatureValue, ...], INTERNAL, Field(max_length=128, fail_fast=True)] = ()
    tool_call_ids: Annotated[tuple[Id, ...], INTERNAL, Field(max_length=128, fail_fast=True)] = ()
    prompt: Annotated[ArtifactRef | None, INTERNAL] = None
    completion: Annotated[ArtifactRef | None, INTERNAL] = None


class ModelInvocationFailed(Model):
    """A model did not answer. The message may quote the prompt, so it is confidential."""

    provider: Annotated[Name, INTERNAL]
    model: Annotated[Name, INTERNAL]
    model_version: Annotated[Name | None, INTERNAL] = None
    prompt_template: Annotated[PromptTemplate | None, INTERNAL] = None
    latency_ms: Annotated[Millis | None, INTERNAL] = None
    latency_band: Annotated[LatencyBand | None, INTERNAL] = None
    attempt: Annotated[Attempt | None, INTERNAL] = None
    error_class: Annotated[Name, INTERNAL]
    error_code: Annotated[Code | None, INTERNAL] = None
    retryable: Annotated[bool | None, INTERNAL] = None
    message: Annotated[Text | None, CONFIDENTIAL] = None
    prompt: Annotated[ArtifactRef | None, INTERNAL] = None
