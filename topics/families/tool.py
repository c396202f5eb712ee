"""tool-events: calls of tools and retrievals of documents. Arguments and results are artefacts or restricted text."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from topics.classification import CONFIDENTIAL, INTERNAL, RESTRICTED
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
    Score,
    Sha256,
    Text,
)


class ToolCallStarted(Model):
    """A tool was called."""

    call_id: Annotated[Id, INTERNAL]
    tool_name: Annotated[Name, INTERNAL]
    tool_version: Annotated[Code | None, INTERNAL] = None
    attempt: Annotated[Attempt | None, INTERNAL] = None
    input: Annotated[ArtifactRef | None, INTERNAL] = None
    arguments: Annotated[Text | None, RESTRICTED] = None


class ToolCallCompleted(Model):
    """A tool answered; `call_id` ties it to its start."""

    call_id: Annotated[Id, INTERNAL]
    tool_name: Annotated[Name, INTERNAL]
    tool_version: Annotated[Code | None, INTERNAL] = None
    attempt: Annotated[Attempt | None, INTERNAL] = None
    latency_ms: Annotated[Millis | None, INTERNAL] = None
    latency_band: Annotated[LatencyBand | None, INTERNAL] = None
    input: Annotated[ArtifactRef | None, INTERNAL] = None
    output: Annotated[ArtifactRef | None, INTERNAL] = None
    result: Annotated[Text | None, RESTRICTED] = None


class ToolCallFailed(Model):
    """A tool did not answer. The message may quote the arguments, so it is confidential."""

    call_id: Annotated[Id, INTERNAL]
    tool_name: Annotated[Name, INTERNAL]
    tool_version: Annotated[Code | None, INTERNAL] = None
    attempt: Annotated[Attempt | None, INTERNAL] = None
    latency_ms: Annotated[Millis | None, INTERNAL] = None
    latency_band: Annotated[LatencyBand | None, INTERNAL] = None
    error_class: Annotated[Name, INTERNAL]
    error_code: Annotated[Code | None, INTERNAL] = None
    retryable: Annotated[bool | None, INTERNAL] = None
    message: Annotated[Text | None, CONFIDENTIAL] = None
    input: Annotated[ArtifactRef | None, INTERNAL] = None


class RetrievedDocument(Model):
    """A document as it was when it was found: its hash says which text the model saw."""

    document_id: Annotated[Name, INTERNAL]
    sha256: Annotated[Sha256 | None, INTERNAL] = None
    version: Annotated[Code | None, INTERNAL] = None
    rank: Annotated[Count | None, INTERNAL] = None
    score: Annotated[Score | None, INTERNAL] = None


class RetrievalPerformed(Model):
    """Documents were looked up in an index."""

    index_name: Annotated[Name, INTERNAL]
    index_version: Annotated[Code | None, INTERNAL] = None
    embedding_model: Annotated[Name | None, INTERNAL] = None
    call_id: Annotated[Id | None, INTERNAL] = None
    documents: Annotated[tuple[RetrievedDocument, ...], INTERNAL, Field(max_length=256, fail_fast=True)] = ()
    latency_ms: Annotated[Millis | None, INTERNAL] = None
    latency_band: Annotated[LatencyBand | None, INTERNAL] = None
    query: Annotated[ArtifactRef | None, INTERNAL] = None
    query_text: Annotated[Text | None, RESTRICTED] = None
