"""Workflows made for the fold's tests: small worlds, where ids, instants and contents collide often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import orjson
from hypothesis import strategies as st

from replayer.core import reading
from replayer.core.decisions import decode_decision
from replayer.core.implied import implied
from replayer.core.outcome import Folded
from replayer.core.rows import DECISION
from replayer.core.timeline import TimelineFold
from tests.drawn import Log, MemoryRows

TOPICS = ("workflow-events", "model-invocations", "tool-events")
ARRIVAL = ("late", "duplicates", "commit_us", "applied", "reached")

_DATA: dict[str, list[dict[str, Any]]] = {
    "workflow.request_received": [{}, {"channel": "chat"}],
    "workflow.completed": [{"outcome": "solved"}],
    "workflow.failed": [{"error_class": "Timeout"}],
    "workflow.human_override": [{"action": "replace", "reason": "confidential words"}],
    "workflow.response_generated": [{"text": "restricted one"}, {"text": "restricted two"}],
    "model.invocation_completed": [
        {"provider": "p", "model": m, "latency_ms": 7, "prompt_template": {"template_id": "t", "version": v}}
        for m in ("m1", "m2")
        for v in ("1", "2")
    ],
    "tool.call_failed": [{"call_id": "c", "tool_name": t, "error_class": "E"} for t in ("t1", "t2")],
    "tool.call_started": [{"call_id": "c", "tool_name": "t1", "tool_version": v} for v in ("1", "2")],
    "retrieval.performed": [
        {"index_name": "i", "documents": [{"document_id": d}, {"document_id": "d0"}]} for d in "ab"
    ],
    "policy.evaluated": [{"policy_id": "pii", "outcome": o} for o in ("allow", "deny")],
    "feedback.received": [{"score": s, "label": "x"} for s in (0.1, 0.2)],
}


def document(event_type: str, **fields: Any) -> dict[str, Any]:
    """An event with the given envelope fields; `data` defaults to the first the type has here."""
    return {
        "event_id": "e", "event_type": event_type, "schema_version": 1, "workflow_id": "w", "tenant_id": "acme",
        "occurred_at": at(0), "source": "s", "agent_id": "a", "data": _DATA[event_type][0], **fields,
    }  # fmt: skip


def at(second: int) -> str:
    return f"2025-01-31T12:{second // 60:02}:{second % 60:02}Z"


@st.composite
def documents(draw: st.DrawFn, workflows: Sequence[str] = ("w",)) -> dict[str, Any]:
    event_type = draw(st.sampled_from(sorted(_DATA)))
    optional = {
        "decision_id": draw(st.sampled_from([None, "d1", "d2"])),
        "correlation_id": draw(st.sampled_from([None, "k1", "k2"])),
        "trace_id": draw(st.sampled_from([None, "1" * 32, "2" * 32])),
    }
    return document(
        event_type,
        event_id=draw(st.sampled_from(["e1", "e2", "e3", "e4", "e5"])),
        workflow_id=draw(st.sampled_from(workflows)),
        occurred_at=at(draw(st.integers(0, 4))),
        agent_id=draw(st.sampled_from(["a1", "a2"])),
        schema_version=draw(st.sampled_from([1, 1, 1, 1, 2])),
        data=draw(st.sampled_from(_DATA[event_type])),
        **{name: value for name, value in optional.items() if value is not None},
    )


@st.composite
def deliveries(draw: st.DrawFn, workflows: Sequence[str] = ("w",), max_size: int = 14) -> list[tuple[str, bytes]]:
    """(topic, value) in the order of arrival, with the same event again here and there, also on another topic."""
    drawn = draw(st.lists(documents(workflows), min_size=1, max_size=max_size))
    repeats = draw(st.lists(st.sampled_from(drawn), max_size=max_size // 2))
    shuffled = draw(st.permutations([*drawn, *repeats]))
    return [(draw(st.sampled_from(TOPICS)), orjson.dumps(event)) for event in shuffled]


def arrived(sequence: Sequence[tuple[str, bytes]], timestamps: Sequence[int] | None = None) -> list[Log]:
    """Records with the offsets their topics give them in this order."""
    ends = dict.fromkeys(TOPICS, 0)
    records = []
    for n, (topic, value) in enumerate(sequence):
        stamp = timestamps[n % len(timestamps)] if timestamps else 1_738_324_800_000 + n
        records.append(Log(topic, ends[topic], value, timestamp=stamp))
        ends[topic] += 1
    return records


def encoded(event: dict[str, Any]) -> bytes:
    return orjson.dumps(event)


def one_topic(*events: dict[str, Any]) -> list[Log]:
    return arrived([(TOPICS[0], encoded(event)) for event in events])


def fold(rows: MemoryRows, records: Sequence[Log]) -> Folded:
    return TimelineFold(partition_of=lambda _: 0, max_record_bytes=1 << 20).fold(rows, records, 0, 0)


def recovered(changelog: Sequence[tuple[bytes, bytes | None]]) -> list[tuple[bytes, bytes | None]]:
    """What a worker stores of these rows of the changelog."""
    return [*implied(changelog), *changelog]


def materialised(records: Sequence[Log], batches: Sequence[int] = (1000,)) -> MemoryRows:
    """All records folded, in batches of these sizes, over and over."""
    return with_changelog(records, batches)[0]


def with_changelog(
    records: Sequence[Log], batches: Sequence[int] = (1000,)
) -> tuple[MemoryRows, list[tuple[bytes, bytes | None]]]:
    """The same, and all rows that went into the changelog."""
    rows, changelog, done, turn = MemoryRows(), [], 0, 0
    while done < len(records):
        size = batches[turn % len(batches)]
        folded = fold(rows, records[done : done + size])
        rows.write(folded.stored)
        changelog += folded.rows
        done, turn = done + size, turn + 1
    return rows, changelog


def lasting(rows: MemoryRows, tenant: str = "acme", workflow: str = "w") -> dict[str, Any]:
    """Everything about a workflow that must not depend on how its events arrived."""
    head = reading.workflow(rows, tenant, workflow)
    assert head is not None
    items = reading.timeline(rows, tenant, workflow, limit=1000).items
    for item in items:
        del item["commit_ts"], item["position"], item["marks"]["late"]
    decisions = [decode_decision(value) for _, value in rows.scan(DECISION + f"{tenant}\0{workflow}\0".encode())]
    return {
        "head": {name: value for name, value in msgspec.structs.asdict(head).items() if name not in ARRIVAL},
        "timeline": items,
        "decisions": [
            {name: value for name, value in msgspec.structs.asdict(one).items() if name != "applied"}
            for one in decisions
        ],
    }
