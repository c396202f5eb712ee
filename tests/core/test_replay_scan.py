"""What a replay takes, which stretch of the log it means, and how it is taken up again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.core.checkpoint import Anchor, Checkpoint, LostCheckpoint, progress, read_checkpoint, terminal
from replayer.core.pace import Pace
from replayer.core.selection import selection
from replayer.core.stretch import LogFacts, Stretch, TooManyGaps, coverage, resolve, times_ms
from topics.codec import Undecodable, decode
from topics.commands import (
    BetweenOffsets,
    BetweenTimes,
    FromEarliest,
    OffsetRange,
    ReplaySpec,
    SelectEverything,
    SelectWorkflows,
    WorkflowRef,
)
from topics.fields import EPOCH
from topics.progress import MAX_GAPS, Gap, State

NOW = datetime(2025, 3, 1, tzinfo=UTC)


def at_ms(ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=ms)


# -- selection


@dataclass(frozen=True, slots=True)
class Raw:
    """A record as far as selections look at it."""

    value: bytes | None
    key: bytes | None = None
    timestamp: int = 0
    topic: str = "policy-events"
    partition: int = 0
    offset: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


def spec(*refs: tuple[str, str], asked: object = None) -> ReplaySpec:
    workflows = tuple(WorkflowRef(tenant_id=tenant, workflow_id=workflow) for tenant, workflow in refs)
    chosen = SelectWorkflows(workflows=workflows) if refs else SelectEverything()
    return ReplaySpec.model_validate(
        {"name": "n", "purpose": "p", "selection": chosen, "range": asked or FromEarliest()}
    )


def event(tenant: str, workflow: str, *, ascii_only: bool, spaced: bool, decoy: str, first: bool) -> bytes:
    data = {"policy_id": "p", "outcome": "deny", "note": {"workflow_id": decoy}}
    envelope = {
        "event_id": "e",
        "event_type": "policy.evaluated",
        "schema_version": 1,
        "workflow_id": workflow,
        "occurred_at": "2025-01-01T00:00:00Z",
        "tenant_id": tenant,
        "source": "s",
        "agent_id": "a",
    }
    whole = {"data": data, **envelope} if first else {**envelope, "data": data}
    separators = (" , ", " : ") if spaced else (",", ":")
    return json.dumps(whole, ensure_ascii=ascii_only, separators=separators).encode()


IDS = st.sampled_from(["w", "ü", 'q"', "a\\b", "w2", "\u2028", "/x"])


@given(
    IDS,
    st.sampled_from(["t", "u"]),
    st.sampled_from([None, b"w", b"other"]),
    st.booleans(),
    st.booleans(),
    IDS,
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(["t", "u"]), IDS), min_size=1, max_size=3),
)
def test_what_the_bytes_turn_away_the_event_would_have_too(
    workflow, tenant, key, ascii_only, spaced, decoy, first, wanted
):
    chosen = selection(spec(*wanted))
    raw = Raw(event(tenant, workflow, ascii_only=ascii_only, spaced=spaced, decoy=decoy, first=first), key)
    found = decode(raw.value)
    assert not isinstance(found, Undecodable)
    assert chosen.takes(found) == ((tenant, workflow) in wanted)
    if chosen.takes(found):
        assert chosen.may_hold(raw)


def test_most_of_what_is_not_wanted_is_not_decoded():
    chosen = selection(spec(("t", "wanted")))
    other = event("t", "other", ascii_only=False, spaced=False, decoy="also-other", first=False)
    assert not chosen.may_hold(Raw(other, b"other"))
    assert not chosen.may_hold(Raw(other, None))
    assert chosen.may_hold(Raw(other, b"wanted"))


def test_a_field_name_spelled_with_escapes_is_not_overlooked():
    raw = event("t", "w", ascii_only=False, spaced=False, decoy="x", first=False)
    sly = raw.replace(b'"workflow_id"', b'"work\\u0066low_id"', 1)
    assert selection(spec(("t", "w"))).may_hold(Raw(sly, b"other"))


@pytest.mark.parametrize(("key", "meant"), [(b"w", True), (None, True), (b"other", False)])
@pytest.mark.parametrize("value", [b"\xff garbage", None])
def test_what_is_no_event_is_in_question_where_it_may_have_been_one_of_these(key, meant, value):
    assert selection(spec(("t", "w"))).may_hold(Raw(value, key)) == meant
    assert selection(spec()).may_hold(Raw(value, key))


def test_only_partitions_that_can_hold_the_workflows_are_read():
    chosen = selection(spec(("t", "a"), ("u", "a"), ("t", "bb")))
    assert chosen.partitions(8, lambda key, count: len(key) % count) == {1, 2}
    assert selection(spec()).partitions(3, lambda key, count: 0) == {0, 1, 2}


def test_log_time_holds_at_both_ends():
    chosen = selection(spec(asked=BetweenTimes(start=at_ms(1000), end=at_ms(2000))))
    held = [ms for ms in (999, 1000, 1999, 2000) if chosen.may_hold(Raw(b"", timestamp=ms))]
    assert held == [1000, 1999]


# -- which stretch a range means

FACTS = LogFacts(begin=10, end=100)


def test_earliest_is_what_the_log_has_and_says_when_its_head_is_gone():
    stretch = resolve(FromEarliest(), "t", 0, FACTS)
    assert stretch is not None
    assert (stretch.start, stretch.end, stretch.position, stretch.head) == (10, 100, 10, "truncated_head")
    whole = resolve(FromEarliest(), "t", 0, LogFacts(0, 100))
    assert whole is not None
    assert whole.head == "complete"


@pytest.mark.parametrize(
    ("at_start", "at_end", "expected"),
    [
        (50, 70, (50, 70, "complete")),
        (10, 70, (10, 70, "unknown")),
        (50, None, (50, 100, "complete")),
        (None, None, (100, 100, "complete")),
        (120, 130, (100, 100, "complete")),  # in transactions still open
        (70, 50, (70, 70, "complete")),  # a clock that went back
    ],
)
def test_times_are_resolved_by_the_log_s_own_index(at_start, at_end, expected):
    asked = BetweenTimes(start=at_ms(1), end=at_ms(2))
    stretch = resolve(asked, "t", 0, LogFacts(10, 100, at_start, at_end))
    assert stretch is not None
    assert (stretch.start, stretch.end, stretch.head) == expected


def test_times_are_rounded_up_to_what_the_log_s_clock_can_say():
    asked = BetweenTimes(start=EPOCH + timedelta(microseconds=1001), end=EPOCH + timedelta(microseconds=3000))
    assert times_ms(asked) == (2, 3)
    assert times_ms(FromEarliest()) == (None, None)


@pytest.mark.parametrize(
    ("start", "end", "position", "stop", "gaps"),
    [
        (20, 30, 20, 30, []),
        (20, None, 20, 100, []),
        (5, 30, 10, 30, [(5, 10, "expired")]),
        (2, 8, 8, 8, [(2, 8, "expired")]),
        (90, 120, 90, 100, [(100, 120, "not_written")]),
        (5, 120, 10, 100, [(5, 10, "expired"), (100, 120, "not_written")]),
        (150, 160, 150, 150, [(150, 160, "not_written")]),
        (150, None, 150, 150, []),
    ],
)
def test_offsets_are_taken_as_they_are_and_what_is_not_there_is_a_gap(start, end, position, stop, gaps):
    asked = BetweenOffsets(partitions=(OffsetRange(topic="t", partition=0, start=start, end=end),))
    stretch = resolve(asked, "t", 0, FACTS)
    assert stretch is not None
    assert (stretch.position, stretch.stop) == (position, stop)
    assert [(gap.start, gap.end, gap.reason) for gap in stretch.gaps] == gaps
    assert resolve(asked, "t", 1, FACTS) is None


@given(st.integers(0, 50), st.integers(0, 60), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)), max_size=8))
def test_every_offset_is_read_or_in_a_gap_never_both(start, length, moves):
    asked = BetweenOffsets(partitions=(OffsetRange(topic="t", partition=0, start=start, end=start + length),))
    stretch = resolve(asked, "t", 0, LogFacts(20, 70))
    assert stretch is not None
    read: set[int] = set()
    for expires, reads in [*moves, (0, 200)]:
        stretch.skip_expired(stretch.position + expires)
        after = min(stretch.position + reads, stretch.stop)
        read.update(range(stretch.position, after))
        stretch.position = max(stretch.position, after)
        stretch = Stretch.decode("t", 0, stretch.position, stretch.encode())
    gaps = [offset for gap in stretch.gaps for offset in range(gap.start, gap.end)]
    assert stretch.done
    assert len(gaps) == len(set(gaps))
    assert not read & set(gaps)
    assert read | set(gaps) == set(range(start, start + length))


def test_gaps_are_bounded_and_their_checkpoint_fits_a_commit():
    stretch = Stretch("t", 0, 0, 2**53, 2**53 - 1000, digest=2**256 - 1)
    for _ in range(MAX_GAPS):
        stretch.skip_expired(stretch.position + 1)
        stretch.position += 1
    assert len(stretch.encode()) < 4096  # the broker's offset.metadata.max.bytes
    with pytest.raises(TooManyGaps):
        stretch.skip_expired(stretch.position + 1)


def test_coverage_is_complete_only_when_nothing_is_missing():
    def whole(**changes: object) -> bool:
        said: dict[str, object] = {"topic": "t", "partition": 0, "start": 0, "end": 9, "position": 9}
        return coverage([Stretch(**(said | changes))]).complete

    assert whole()
    assert not whole(head="truncated_head")
    assert not whole(head="unknown")
    assert not whole(undecodable=1)
    assert not whole(position=8)
    assert not whole(gaps=[Gap(start=0, end=1, reason="expired")])


# -- checkpoints

AT = ("replay-progress", 2)


def committed(checkpoint: Checkpoint) -> dict[tuple[str, int], tuple[int, str]]:
    held = {(part.topic, part.partition): (part.position, part.encode()) for part in checkpoint.stretches}
    return held | {AT: (7, checkpoint.anchor.encode())}


def checkpoint() -> Checkpoint:
    parts = (
        Stretch("a", 0, 0, 50, 20, read=20, matched=3, digest=5),
        Stretch("b", 1, 4, 9, 9, head="unknown", read=4, matched=2, undecodable=1, digest=2**256 - 2),
    )
    return Checkpoint(Anchor(4, State.RUNNING, 123, (10, 17), len(parts)), parts)


def test_a_checkpoint_comes_back_as_it_was_committed():
    assert read_checkpoint("r", AT, committed(checkpoint()), 4) == checkpoint()
    assert read_checkpoint("r", AT, {}, 0) is None
    assert (checkpoint().matched, checkpoint().digest) == (5, f"{3:064x}")


@pytest.mark.parametrize("version", [0, 4])
@pytest.mark.parametrize("gone", [AT, ("a", 0), ("b", 1)])
def test_half_a_checkpoint_is_none_and_never_starts_a_replay_over(version, gone):
    held = committed(checkpoint())
    del held[gone]
    with pytest.raises(LostCheckpoint):
        read_checkpoint("r", AT, held, version)


@pytest.mark.parametrize("version", [1, 5])
def test_a_replay_that_made_progress_must_have_a_checkpoint(version):
    with pytest.raises(LostCheckpoint):
        read_checkpoint("r", AT, {} if version == 1 else committed(checkpoint()), version)


@given(st.text(max_size=40))
def test_what_is_no_checkpoint_is_lost_not_a_crash(said):
    for key in (AT, ("a", 0)):
        with pytest.raises(LostCheckpoint):
            read_checkpoint("r", AT, committed(checkpoint()) | {key: (1, said)}, 0)


def test_progress_and_terminal_record_say_what_the_checkpoint_holds():
    said = progress("r", checkpoint(), ("replay-results", 3), None, 2_000_000)
    assert (said.version, said.read, said.matched, said.undecodable, said.total) == (4, 24, 5, 1, 55)
    assert said.results is not None
    assert (said.results.first_offset, said.results.end_offset) == (10, 17)
    assert said.ended_at is None
    end = terminal("r", checkpoint(), State.COMPLETED, None, 2_000_000)
    assert (end.count, end.digest) == (said.matched, said.digest)


def test_the_anchor_remembers_the_first_result_and_the_last():
    anchor = Anchor(0, State.RUNNING, 1).next(State.RUNNING, None)
    assert anchor.results is None
    anchor = anchor.next(State.RUNNING, (5, 9)).next(State.RUNNING, None).next(State.COMPLETED, (12, 13))
    assert (anchor.version, anchor.state, anchor.results) == (4, State.COMPLETED, (5, 13))


# -- pace


@given(st.integers(1, 10_000), st.lists(st.tuples(st.integers(0, 500), st.floats(0, 2)), min_size=1, max_size=20))
def test_the_rate_is_never_exceeded_and_idle_time_is_not_made_up_for(rate, steps):
    pace, now, read = Pace(rate), 0.0, 0
    for records, idle in steps:
        wait = pace.wait(records, now)
        assert wait >= 0
        read += records
        now += wait
        assert read <= rate * now + 1e-6
        now += idle
    before = now = now + 100
    now += pace.wait(rate, now)
    assert now - before == pytest.approx(1)


def test_without_a_rate_there_is_no_wait():
    assert Pace(None).wait(10_000, 5.0) == 0
    assert Pace(None).chunk(1000) == 1000
    assert (Pace(50).chunk(1000), Pace(1).chunk(1000), Pace(10**6).chunk(1000)) == (5, 1, 1000)
