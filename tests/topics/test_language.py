"""What the language promises of itself: classes on every field, bounds on every string and list, no free form."""

from __future__ import annotations

import json
from datetime import datetime
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from tests.drawn import full, now
from topics.catalogue import TEMPLATE_USAGE, TOPICS
from topics.classification import Classification, Classified, classification_of
from topics.codec import Event, decode
from topics.events import MODELS, encode, event, topic_of, wire
from topics.families.policy import PolicyEvaluated
from topics.fields import ArtifactRef
from topics.projection import hidden_fields, project
from topics.registry import EVENT_TYPES, FAMILIES
from topics.schemas import schemas

NAMED_IN_DESIGN = {
    "workflow-events": {
        "workflow.request_received", "workflow.plan_created", "workflow.tool_selected", "workflow.response_generated",
        "workflow.human_override", "workflow.completed", "workflow.failed",
    },
    "model-invocations": {"model.invocation_completed", "model.invocation_failed"},
    "tool-events": {"tool.call_started", "tool.call_completed", "tool.call_failed", "retrieval.performed"},
    "policy-events": {"policy.evaluated"},
    "feedback-events": {"feedback.received"},
    "stage-events": {"stage.started", "stage.completed", "stage.failed"},
}  # fmt: skip


def models() -> list[type[BaseModel]]:
    """Every model that can be part of an event."""
    found: dict[type[BaseModel], None] = {}

    def visit(annotation: Any) -> None:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            if annotation not in found:
                found[annotation] = None
                for info in annotation.model_fields.values():
                    visit(info.annotation)
        else:
            for arg in get_args(annotation):
                visit(arg)

    for model in MODELS.values():
        visit(model)
    return list(found)


def fields() -> list[tuple[str, FieldInfo]]:
    return [(f"{model.__name__}.{name}", info) for model in models() for name, info in model.model_fields.items()]


def test_every_type_the_design_names_is_registered_in_its_family() -> None:
    registered = {family: {n for n, known in EVENT_TYPES.items() if known.family == family} for family in FAMILIES}
    assert registered == NAMED_IN_DESIGN
    assert topic_of("policy.evaluated") == "policy-events"


def test_every_field_is_classified() -> None:
    assert [name for name, info in fields() if classification_of(info) is None] == []


def test_every_string_and_list_is_bounded_and_nothing_is_free_form() -> None:
    def unbounded(annotation: Any, metadata: Any) -> bool:
        origin = get_origin(annotation)
        if origin is Annotated:
            inner, *rules = get_args(annotation)
            return unbounded(inner, [*rules, *metadata])
        if origin in (Union, UnionType):
            return any(unbounded(arm, ()) for arm in get_args(annotation))
        inner_rules = [rule for info in metadata if isinstance(info, FieldInfo) for rule in info.metadata]
        lengths = [rule for rule in [*metadata, *inner_rules] if hasattr(rule, "max_length")]
        if origin is tuple:
            return not lengths or unbounded(get_args(annotation)[0], ())
        if annotation is str:
            return not lengths
        if annotation in (int, float):
            return not any(hasattr(rule, "le") for rule in [*metadata, *inner_rules])
        closed = origin is Literal or annotation in (bool, NoneType, datetime)
        return not closed and not (isinstance(annotation, type) and issubclass(annotation, BaseModel))

    # `data` of the generic model is narrowed by every event type
    assert [name for name, info in fields() if unbounded(info.annotation, info.metadata)] == []


def test_texts_of_people_and_models_are_references_or_hidden() -> None:
    telling = {"text", "arguments", "result", "query_text", "message", "comment", "reason", "explanation", "reviewer"}
    for name, info in fields():
        holds_reference = ArtifactRef in (info.annotation, *get_args(info.annotation))
        if name.split(".")[1] in telling and not holds_reference:
            level = classification_of(info)
            assert level in (Classification.CONFIDENTIAL, Classification.RESTRICTED), name


def test_defaults_are_what_the_wire_leaves_out() -> None:
    assert {repr(info.default) for _, info in fields() if not info.is_required()} == {"None", "()"}


@pytest.mark.parametrize("event_type", MODELS)
def test_what_is_hidden_is_in_no_projection(event_type: str) -> None:
    document = full(MODELS[event_type], "canary")
    document["event_type"] = event_type
    raw = json.dumps(document).encode()
    assert b"canary" in raw  # subject_id at least
    found = decode(raw)
    assert isinstance(found, Event), found
    said = project(found)
    assert b"canary" not in said
    kept = {name for name in document["data"] if name in json.loads(said)["data"]}
    assert kept == set(document["data"]) - set(hidden_fields(EVENT_TYPES[event_type].data))
    future = decode(json.dumps({**document, "schema_version": 9}).encode())
    assert isinstance(future, Event)
    assert b"canary" not in project(future)
    assert "data" not in json.loads(project(future))


def test_a_field_nobody_classified_stops_the_import() -> None:
    class Forgotten(BaseModel):
        name: str

    class Required(BaseModel):
        name: Annotated[str, Classified(Classification.RESTRICTED)]

    for model in (Forgotten, Required):
        with pytest.raises(TypeError, match="name"):
            hidden_fields(model)


def test_authors_write_what_readers_read() -> None:
    envelope = {
        "event_id": "e-1", "workflow_id": "w-1", "occurred_at": now(), "tenant_id": "acme", "source": "guard",
        "agent_id": "support",
    }  # fmt: skip
    data = PolicyEvaluated(policy_id="pii", outcome="redact")
    raw = encode(data, **envelope)
    assert raw == wire(event(data, **envelope))
    assert json.loads(raw)["occurred_at"] == "2025-01-31T12:00:00.000000Z"
    assert b"null" not in raw
    found = decode(raw)
    assert isinstance(found, Event)
    assert (found.event_type, found.schema_version, found.data.outcome) == ("policy.evaluated", 1, "redact")
    with pytest.raises(ValidationError, match="workflow_id"):
        encode(data, **{**envelope, "workflow_id": "w\x00"})
    with pytest.raises(ValidationError, match="offset"):
        encode(data, **{**envelope, "occurred_at": now().replace(tzinfo=None)})


def test_schemas_are_of_everything_and_say_each_fields_class() -> None:
    printed = json.loads(json.dumps(schemas()))
    assert {schema["x-topic"] for schema in printed.values()} == {
        topic.name for topic in TOPICS if topic is not TEMPLATE_USAGE
    }
    for schema in printed.values():
        Draft202012Validator.check_schema(schema)
        for holder in (schema, *schema.get("$defs", {}).values()):
            assert all("x-classification" in field for field in holder.get("properties", {}).values())
    assert set(EVENT_TYPES) <= set(printed)
    for event_type, known in EVENT_TYPES.items():
        schema = printed[event_type]
        assert schema["properties"]["event_type"]["const"] == event_type
        assert schema["x-topic"] == known.family
        assert schema["properties"]["subject_id"]["x-classification"] == "confidential"
        assert schema["properties"]["occurred_at"]["format"] == "date-time"
