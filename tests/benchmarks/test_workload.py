"""What the contenders read, and that the lean reducer keeps what the product's fold keeps of it."""

from __future__ import annotations

import pytest

from benchmarks.contenders.job import Job
from benchmarks.contenders.reducers import SourceRecord, reducer
from benchmarks.profile_fold import MemoryRows
from benchmarks.workload import SIZES, workload
from replayer.core.head import decode_head
from replayer.core.rows import EVENT, HEAD
from replayer.core.sizes import Size, topic
from topics.codec import Undecodable, decode


@pytest.mark.parametrize("size", SIZES)
def test_every_event_is_valid_distinct_and_where_its_key_says(size: Size) -> None:
    told = list(workload(size, 650, active=20, per_workflow=10))
    events = [decode(value) for _, value in told]
    assert not [event for event in events if isinstance(event, Undecodable)]
    assert [event.workflow_id.encode() for event in events if not isinstance(event, Undecodable)] == [
        k for k, _ in told
    ]
    assert len({event.event_id for event in events if not isinstance(event, Undecodable)}) == 650
    per_workflow = [sum(1 for key, _ in told if key == one) for one in dict.fromkeys(key for key, _ in told)]
    assert per_workflow == [10] * 60 + [3] * 10 + [2] * 10  # three whole waves, and 50 events of the fourth


@pytest.mark.parametrize("size", SIZES)
def test_sizes_are_about_what_they_are_called(size: Size) -> None:
    sizes = [len(value) for _, value in workload(size, 1000)]
    low, high = (900, 1100) if size == "1KB" else (180, 260)
    assert low <= min(sizes) <= max(sizes) <= high


@pytest.mark.parametrize("size", SIZES)
def test_lean_keeps_the_same_heads_and_events_as_the_whole_fold(size: Size) -> None:
    """So that a peer that keeps less still does the product's work on what it keeps; each event twice: duplicates."""
    told = list(workload(size, 120, active=10, per_workflow=6))
    kept = {}
    for rows_kept in ("all", "lean"):
        rows, reduce = MemoryRows(), reducer(rows_kept)
        for offset, (key, value) in enumerate([*told, *told]):
            rows.write(list(reduce(rows, SourceRecord(topic(size), 0, offset, 1000 + offset, key, value))))
        kept[rows_kept] = rows.stored
    heads = {
        name: {key: decode_head(value) for key, value in stored.items() if key.startswith(HEAD)}
        for name, stored in kept.items()
    }
    assert heads["lean"].keys() == heads["all"].keys()
    assert len(heads["lean"]) == 20
    for key, head in heads["lean"].items():
        assert (head.events, head.digest, head.counts) == (6, heads["all"][key].digest, heads["all"][key].counts)
    events = {name: {k for k in stored if k.startswith(EVENT)} for name, stored in kept.items()}
    assert events["lean"] == events["all"]
    assert len(events["lean"]) == 120


def test_a_job_survives_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job("127.0.0.1:9092", "t", 4, "g", "d", 6066, {"rows": "lean", "nested": {"linger.ms": 50}})
    monkeypatch.setattr("sys.argv", ["program", job.as_argument()])
    assert Job.from_argv() == job
