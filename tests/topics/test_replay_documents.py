"""Commands, progress and results on the wire: round trips, refusals that explain, and no bytes that raise."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, RootModel, ValidationError

from topics import commands, progress, results
from topics.classification import classification_of
from topics.codec import Undecodable, decode, encode
from topics.commands import (
    BetweenOffsets,
    BetweenTimes,
    FromEarliest,
    OffsetRange,
    ReplayCommand,
    ReplaySpec,
    SelectEverything,
    SelectWorkflows,
    WorkflowRef,
    decode_command,
    encode_command,
)
from topics.families.policy import PolicyEvaluated
from topics.progress import (
    Coverage,
    Gap,
    PartitionCoverage,
    ReplayProgress,
    ResultsLocation,
    State,
    decode_progress,
    encode_progress,
)
from topics.projection import project
from topics.results import (
    Position,
    ReplayResult,
    TerminalRecord,
    add_digests,
    decode_result,
    digest_hex,
    encode_result,
    encode_terminal,
    result_digest,
)
from topics.schemas import schema

NOW = datetime(2025, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
SPEC = ReplaySpec(name="INC-7", purpose="why", selection=SelectEverything(), range=FromEarliest())


def start(**changes: object) -> ReplayCommand:
    said: dict[str, object] = {
        "command_id": "c-1",
        "replay_id": "r-1",
        "action": "start",
        "requester": "ada",
        "requested_at": NOW,
        "spec": SPEC,
    }
    return ReplayCommand.model_validate(said | changes)


def described(topic: str, raw: bytes) -> bytes:
    """The bytes, found to be what `replayer schemas` says of the topic."""
    Draft202012Validator(schema(topic)).validate(orjson.loads(raw))
    return raw


RANGES = [
    FromEarliest(),
    FromEarliest(end=NOW),
    BetweenTimes(start=NOW),
    BetweenTimes(start=NOW, end=NOW.replace(year=2026)),
    BetweenOffsets(
        partitions=(OffsetRange(topic="t", partition=0, start=3), OffsetRange(topic="t", partition=1, start=0, end=9))
    ),
]
SELECTIONS = [
    SelectEverything(),
    SelectWorkflows(
        workflows=(WorkflowRef(tenant_id="a", workflow_id="ü"), WorkflowRef(tenant_id="b", workflow_id="w"))
    ),
]


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("asked", RANGES)
def test_a_command_comes_back_as_it_was_written(selection, asked):
    command = start(spec=SPEC.model_copy(update={"selection": selection, "range": asked, "records_per_second": 5}))
    assert decode_command(described("replay-commands", encode_command(command))) == command


def test_cancel_and_actions_of_later_versions_are_commands_too():
    for action in ("cancel", "pause", "resume", "teleport"):
        command = start(action=action, spec=None)
        assert decode_command(encode_command(command)) == command


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"spec": None}, "value_error"),
        ({"action": "cancel"}, "value_error"),
        ({"action": "Start!"}, "action"),
        ({"replay_id": "a/b"}, "replay_id"),
        ({"replay_id": "a\n"}, "replay_id"),
        ({"replay_id": "-a"}, "replay_id"),
        ({"replay_id": "x" * 129}, "replay_id"),
        ({"command_id": ""}, "command_id"),
        ({"requested_at": "yesterday"}, "requested_at"),
    ],
)
def test_a_command_that_breaks_a_rule_is_refused_by_field_and_rule(changes, named):
    document = orjson.loads(encode_command(start())) | changes
    refused = decode_command(orjson.dumps(document))
    assert isinstance(refused, Undecodable)
    assert refused.reason == "invalid"
    assert named in refused.detail


@pytest.mark.parametrize(
    "spec",
    [
        {"name": ""},
        {"purpose": ""},
        {"mode": "content"},
        {"records_per_second": 0},
        {"selection": {"kind": "secret-kind"}},
        {"selection": {"kind": "workflows", "workflows": []}},
        {"selection": {"kind": "workflows", "workflows": [{"workflow_id": "w"}]}},
        {"range": {"kind": "time", "start": "2025-01-02T00:00:00Z", "end": "2025-01-01T00:00:00Z"}},
        {"range": {"kind": "time", "by": "occurred_at", "start": "2025-01-02T00:00:00Z"}},
        {"range": {"kind": "offsets", "partitions": []}},
        {"range": {"kind": "offsets", "partitions": [{"topic": "t", "partition": 0, "start": 5, "end": 4}]}},
        {"range": {"kind": "offsets", "partitions": [{"topic": "t", "partition": 0, "start": 1}] * 2}},
    ],
)
def test_a_spec_that_breaks_a_rule_is_refused_without_quoting_it(spec):
    document = orjson.loads(encode_command(start()))
    document["spec"] |= spec
    refused = decode_command(orjson.dumps(document))
    assert isinstance(refused, Undecodable)
    assert refused.reason == "invalid"
    assert "secret-kind" not in refused.detail


def test_a_later_schema_version_is_refused_as_such():
    document = orjson.loads(encode_command(start())) | {"schema_version": 2}
    assert decode_command(orjson.dumps(document)) == Undecodable("invalid", "UnknownVersion", "schema_version: above 1")


@given(st.binary(max_size=200) | st.sampled_from([b"[" * 5000, b'{"a":' + b"9" * 9000 + b"}", b"\xff", b"null", b"{}"]))
def test_no_bytes_raise(raw):
    for decoder in (decode_command, decode_progress, decode_result):
        assert isinstance(decoder(raw), Undecodable)
        assert isinstance(decoder(None), Undecodable)


def test_a_command_above_its_limit_is_oversized():
    raw = encode_command(start())[:-1] + b" " * 262_144 + b"}"
    refused = decode_command(raw)
    assert isinstance(refused, Undecodable)
    assert refused.reason == "oversized"


def test_the_content_of_a_command_is_who_asks_for_what():
    again = start(command_id="c-2", requested_at=NOW.replace(year=2026))
    assert again.content == start().content
    assert start(requester="bob").content != start().content
    assert start(spec=SPEC.model_copy(update={"purpose": "other"})).content != start().content


COVERAGE = Coverage(
    complete=False,
    partitions=(
        PartitionCoverage(
            topic="t",
            partition=1,
            start=5,
            end=90,
            position=40,
            read=30,
            matched=7,
            undecodable=1,
            head="truncated_head",
            gaps=(Gap(start=5, end=9, reason="expired"),),
        ),
    ),
)


def test_progress_comes_back_as_it_was_written():
    said = ReplayProgress(
        replay_id="r",
        version=3,
        state=State.RUNNING,
        read=30,
        matched=7,
        total=85,
        digest="0" * 64,
        coverage=COVERAGE,
        results=ResultsLocation(topic="replay-results", partition=2, first_offset=11, end_offset=18),
        started_at=NOW,
        updated_at=NOW,
    )
    assert decode_progress(described("replay-progress", encode_progress(said))) == said


def test_terminal_record_comes_back_as_it_was_written():
    said = TerminalRecord(
        replay_id="r", state=State.FAILED, count=7, digest="f" * 64, coverage=COVERAGE, error="It broke.", ended_at=NOW
    )
    assert decode_result(described("replay-results", encode_terminal(said))) == said


def test_the_fast_result_is_the_model_s_and_its_hash_is_of_the_bytes_in_it():
    raw = encode(
        PolicyEvaluated(policy_id="pii", outcome="redact"),
        event_id="e-1",
        workflow_id="wörk",
        occurred_at=NOW,
        tenant_id="acme",
        source="guard",
        agent_id="support",
        subject_id="never-in-a-result",
    )
    found = decode(raw)
    assert not isinstance(found, Undecodable)
    projection = project(found)
    sha256 = hashlib.sha256(projection).hexdigest()
    written = encode_result("r", 4, "policy-events", 3, 17, 1_700_000_000_123, sha256, projection)
    result = decode_result(described("replay-results", written))
    assert isinstance(result, ReplayResult)
    assert result.position == Position(topic="policy-events", partition=3, offset=17, index=0)
    assert (result.seq, result.event.event_id, result.event.workflow_id) == (4, "e-1", "wörk")
    assert result.commit_ts == datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC)
    assert result.event.data == {"policy_id": "pii", "outcome": "redact"}
    assert b"never-in-a-result" not in written
    assert hashlib.sha256(written[written.index(b'"event":') + 8 : -1]).hexdigest() == result.sha256


@given(st.lists(st.tuples(st.text("ab", min_size=1, max_size=3), st.integers(0, 3), st.integers(0, 99)), unique=True))
def test_a_digest_forgets_order_and_grouping_but_no_result(positions):
    shares = [result_digest(topic, partition, offset, "0" * 64) for topic, partition, offset in positions]
    assert len(set(shares)) == len(shares)
    whole = add_digests(*shares)
    assert add_digests(*reversed(shares)) == whole
    assert add_digests(add_digests(*shares[:2]), add_digests(*shares[2:])) == whole
    assert len(digest_hex(whole)) == 64
    if shares:
        assert add_digests(*shares[1:]) != whole


def _models() -> list[type[BaseModel]]:
    return [
        found
        for module in (commands, progress, results)
        for found in vars(module).values()
        if isinstance(found, type)
        and issubclass(found, BaseModel)
        and found.__module__ == module.__name__
        and not issubclass(found, RootModel)
    ]


@pytest.mark.parametrize("model", _models(), ids=lambda model: model.__name__)
def test_every_field_is_classified_and_may_leave_the_log(model):
    for name, info in model.model_fields.items():
        level = classification_of(info)
        assert level is not None, name
        assert level.projected or not info.is_required(), name


def test_models_are_strict():
    with pytest.raises(ValidationError):
        OffsetRange(topic="t", partition="0", start=0)
