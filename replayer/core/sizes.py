"""Events of a known size for measurements: 236 and 960 bytes. Built from a template: 10⁶ take seconds.

Both are valid events of the model family's and the policy family's first version; ids and times are what varies.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Literal

from replayer.core.artefacts import PREFIX
from topics.events import encode, topic_of
from topics.families.model import FeatureValue, ModelInvocationCompleted, Tokens
from topics.families.policy import PolicyEvaluated
from topics.fields import EPOCH, ArtifactRef, PromptTemplate, rfc3339

Size = Literal["200B", "1KB"]

_EVENT, _WORKFLOW, _TIME = "E" * 11, "W" * 8, "1970-01-01T00:00:00.000000Z"


def template(size: Size) -> bytes:
    """An event of the size; its ids are placeholders of the length the generated ones have."""
    small = PolicyEvaluated(policy_id="p", outcome="allow")
    return encode(
        small if size == "200B" else _invocation(),
        event_id=_EVENT,
        workflow_id=_WORKFLOW,
        occurred_at=EPOCH + timedelta(0),
        tenant_id="t1",
        source="pg",
        agent_id="a1",
        **({} if size == "200B" else {"decision_id": _WORKFLOW + "-t1", "trace_id": "a1" * 16, "span_id": "b2" * 8}),
    )


def topic(size: Size) -> str:
    """The topic the events of this size belong on."""
    return topic_of("policy.evaluated" if size == "200B" else "model.invocation_completed")


def events(
    size: Size, count: int, *, workflows: int, start_us: int, step_us: int = 1000
) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of `count` distinct events over `workflows` (at most 10⁷) workflows in turn, `step_us` µs apart."""
    before, after_event, after_workflow = _split(template(size))
    for number in range(count):
        workflow = b"w%07d" % (number % workflows)
        moment = rfc3339(start_us + number * step_us).encode()
        tail = after_workflow.replace(_WORKFLOW.encode(), workflow).replace(_TIME.encode(), moment, 1)
        yield workflow, b"%se%010d%s%s%s" % (before, number, after_event, workflow, tail)


def _split(value: bytes) -> tuple[bytes, bytes, bytes]:
    before, rest = value.split(_EVENT.encode(), 1)
    after_event, after_workflow = rest.split(_WORKFLOW.encode(), 1)
    return before, after_event, after_workflow


def _invocation() -> ModelInvocationCompleted:
    return ModelInvocationCompleted(
        provider="examplai",
        model="large-2",
        model_version="2025-10-01",
        prompt_template=PromptTemplate(template_id="support-answer", version="2", sha256="c3" * 32),
        latency_ms=1180,
        latency_band="normal",
        tokens=Tokens(input=1204, output=187, cached=512),
        finish_reason="stop",
        temperature=0.2,
        features=(FeatureValue(name="customer_tier", version="3", value=_ref("d4", 12)),),
    )


def _ref(pair: str, size: int) -> ArtifactRef:
    return ArtifactRef(
        uri=PREFIX + pair * 32,
        sha256=pair * 32,
        media_type="application/json",
        size_bytes=size,
        classification="confidential",
    )
