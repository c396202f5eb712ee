"""The envelope: what every event of every family says about itself. CloudEvents 1.0 attributes map one to one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from topics.classification import CONFIDENTIAL, INTERNAL, PUBLIC
from topics.fields import Id, Instant, Model, Name, SpanId, TraceId, Version, WorkflowId


class Envelope(Model):
    """All fields but `data`, in the order in which they are written. An event type adds its own `data`.

    The type comes first, as it does in an event's canonical content: what our own producers write is canonical already,
    and decoding sees that at a glance.
    """

    event_type: Annotated[Id, PUBLIC, Field(description="dotted; decides the type of `data`")]
    event_id: Annotated[Id, INTERNAL, Field(description="chosen by the producer, unique for ever (UUIDv7 advised)")]
    schema_version: Annotated[Version, PUBLIC, Field(description="of this event type; at least 1")]
    workflow_id: Annotated[WorkflowId, INTERNAL, Field(description="the partition key: UTF-8, murmur2")]
    occurred_at: Annotated[Instant, INTERNAL, Field(description="the producer's clock")]
    tenant_id: Annotated[Id, INTERNAL, Field(description="a workflow is (tenant_id, workflow_id) everywhere")]
    source: Annotated[Name, INTERNAL, Field(description="which service said so")]
    agent_id: Annotated[Id, INTERNAL, Field(description="which agent acted")]
    decision_id: Annotated[Id | None, INTERNAL, Field(description="null: the workflow's own decision")] = None
    parent_event_id: Annotated[Id | None, INTERNAL, Field(description="what caused it")] = None
    correlation_id: Annotated[Id | None, INTERNAL, Field(description="the business thread across workflows")] = None
    original_event_id: Annotated[Id | None, INTERNAL, Field(description="set on a redriven or replayed event")] = None
    trace_id: Annotated[TraceId | None, INTERNAL, Field(description="W3C trace context")] = None
    span_id: Annotated[SpanId | None, INTERNAL, Field(description="W3C trace context")] = None
    subject_id: Annotated[Id | None, CONFIDENTIAL, Field(description="the data subject, for erasure")] = None
    key_id: Annotated[Id | None, INTERNAL, Field(description="the subject's encryption key, for erasure")] = None
