"""The replay machine is total, and what it ends with does not depend on the order or number of deliveries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise, permutations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.core import replay as machine
from replayer.core.errors import DamagedRow, UnknownRowFormat
from replayer.core.outcome import Folded
from replayer.core.replay import MAX_REFUSALS, REACHES, Outcome, Replay
from replayer.core.replays import ReplaysFold, decode_replay, find, open_replays, read, replay_key
from topics import deadletter
from topics.commands import FromEarliest, ReplayCommand, ReplaySpec, SelectEverything, encode_command
from topics.progress import ReplayProgress, State, encode_progress

NOW = datetime(2025, 3, 1, tzinfo=UTC)
SPEC = ReplaySpec(name="INC-7", purpose="why", selection=SelectEverything(), range=FromEarliest())


def said(action: str, number: int = 0, *, replay_id: str = "r", purpose: str = "why") -> ReplayCommand:
    return ReplayCommand(
        command_id=f"{action}-{number}",
        replay_id=replay_id,
        action=action,
        requester="ada",
        requested_at=NOW + timedelta(seconds=number),
        spec=SPEC.model_copy(update={"purpose": purpose}) if action == "start" else None,
    )


def moved(state: State, version: int, *, replay_id: str = "r", read: int = 0) -> ReplayProgress:
    return ReplayProgress(replay_id=replay_id, version=version, state=state, read=read, started_at=NOW, updated_at=NOW)


COMMANDS = st.builds(said, st.sampled_from(["start", "cancel"]), st.integers(0, 3))
ANY_COMMANDS = st.builds(
    said,
    st.sampled_from(["start", "cancel", "pause", "resume", "teleport"]),
    st.integers(0, 3),
    purpose=st.sampled_from(["why", "other"]),
)
MOVED = [state for state in State if state is not State.PLANNED]
PROGRESS = st.builds(moved, st.sampled_from(MOVED), st.integers(1, 6), read=st.integers(0, 2))


def apply(replay: Replay | None, message: ReplayCommand | ReplayProgress) -> machine.Step:
    if isinstance(message, ReplayCommand):
        return machine.command(replay, message)
    return machine.progress(replay, message)


def after(messages: Sequence[ReplayCommand | ReplayProgress]) -> Replay | None:
    replay = None
    for message in messages:
        replay = apply(replay, message).replay
    return replay


@given(st.lists(ANY_COMMANDS | PROGRESS, max_size=12))
def test_any_message_in_any_state_has_an_outcome(messages):
    replay = None
    for message in messages:
        step = apply(replay, message)
        assert isinstance(step.outcome, Outcome)
        if replay is not None:
            assert step.replay is not None
        replay = step.replay


@given(st.lists(COMMANDS | PROGRESS, max_size=8), st.randoms(use_true_random=False), st.data())
def test_order_and_repetition_of_the_same_messages_change_nothing(messages, random, data):
    again = messages + (data.draw(st.lists(st.sampled_from(messages), max_size=4)) if messages else [])
    random.shuffle(again)
    assert after(again) == after(messages)


@given(st.lists(ANY_COMMANDS, max_size=6), st.lists(PROGRESS, max_size=6), st.data())
def test_the_two_topics_may_be_read_in_any_interleaving(commands, progress, data):
    merged: list[ReplayCommand | ReplayProgress] = []
    one, other = list(commands), list(progress)
    while one or other:
        merged.append((one if not other or (one and data.draw(st.booleans())) else other).pop(0))
    assert after(merged) == after([*progress, *commands])


@given(st.lists(ANY_COMMANDS, max_size=8), st.lists(ANY_COMMANDS, max_size=2))
def test_commands_delivered_again_are_recognised(commands, tail):
    assert after([*commands, *commands, *tail]) == after([*commands, *tail])


@given(st.lists(ANY_COMMANDS | PROGRESS, max_size=10))
def test_the_state_only_moves_where_the_machine_reaches(messages):
    replay, seen = None, State.PLANNED
    for message in messages:
        replay = apply(replay, message).replay
        if replay is not None and replay.state is not seen:
            assert replay.state in REACHES[seen] or seen.final, (seen, replay.state)
            seen = replay.state


@given(
    st.permutations(
        [moved(State.RUNNING, 1), moved(State.PAUSED, 2), moved(State.RUNNING, 3), moved(State.COMPLETED, 4)]
    )
)
def test_an_end_stands_whatever_is_read_after_it(progress):
    replay = after([said("start"), *progress])
    assert replay is not None
    assert replay.state is State.COMPLETED
    assert not replay.open


def test_the_first_of_two_ends_stands():
    ends = [moved(State.COMPLETED, 5), moved(State.FAILED, 6), moved(State.RUNNING, 9)]
    for order in permutations(ends):
        replay = after(order)
        assert replay is not None
        assert replay.progress == ends[0]


def test_every_state_has_its_moves_and_ends_have_none():
    assert set(REACHES) == set(State)
    assert all(REACHES[state] == frozenset() for state in State if state.final)
    assert REACHES[State.RUNNING] == {State.PAUSED, State.COMPLETED, State.FAILED, State.CANCELLED}


def test_another_request_under_the_same_id_is_refused_and_stays_visible():
    first = after([said("start")])
    step = apply(first, said("start", 1, purpose="other"))
    assert step.outcome is Outcome.REFUSED
    assert step.replay is not None
    assert step.replay.command == said("start")
    assert [refusal.command_id for refusal in step.replay.refused] == ["start-1"]
    assert apply(step.replay, said("start", 1, purpose="other")).outcome is Outcome.DUPLICATE


def test_refusals_are_bounded_and_say_when_there_were_more():
    replay = after([said("start"), *(said("start", n, purpose="other") for n in range(1, MAX_REFUSALS + 3))])
    assert replay is not None
    assert len(replay.refused) == MAX_REFUSALS
    assert replay.refused_more


def test_a_cancel_alone_is_no_replay_and_still_counts_when_the_start_comes():
    early = after([said("cancel")])
    assert early is not None
    assert not early.known
    assert not early.open
    started = after([said("cancel"), said("start")])
    assert started is not None
    assert (started.state, started.cancelling, started.open) == (State.PLANNED, True, True)


def test_a_cancel_after_the_end_is_kept_without_effect():
    step = apply(after([said("start"), moved(State.COMPLETED, 2)]), said("cancel"))
    assert step.outcome is Outcome.TOO_LATE
    assert step.replay is not None
    assert (step.replay.state, step.replay.cancelling) == (State.COMPLETED, False)
    assert step.replay.cancel is not None


# -- the fold


@dataclass(frozen=True, slots=True)
class Written:
    """A record of one of the two topics."""

    topic: str
    value: bytes | None
    key: bytes | None = b"r"
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass
class Kept:
    """Rows in memory, in key order."""

    rows: dict[bytes, bytes] = field(default_factory=dict)

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.rows.get(key) for key in keys]

    def scan(self, prefix: bytes, start: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted((k, v) for k, v in self.rows.items() if k.startswith(prefix) and k >= (start or b"")))

    def write(self, folded: Folded) -> None:
        for key, value in folded.rows:
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value


def wrote(message: ReplayCommand | ReplayProgress) -> Written:
    if isinstance(message, ReplayCommand):
        return Written("replay-commands", encode_command(message), message.key)
    return Written("replay-progress", encode_progress(message), message.replay_id.encode())


FOLD = ReplaysFold(partition_of=lambda key: 1 if key.startswith(b"elsewhere") else 0)
MESSAGES = st.lists(
    st.builds(said, st.sampled_from(["start", "cancel"]), st.integers(0, 3), replay_id=st.sampled_from("ab"))
    | st.builds(moved, st.sampled_from(MOVED), st.integers(1, 6), replay_id=st.sampled_from("ab")),
    max_size=12,
)


@given(MESSAGES, st.lists(st.integers(0, 12), max_size=3))
def test_batches_of_any_size_make_the_same_rows(messages, cuts):
    at_once, in_pieces = Kept(), Kept()
    records = [wrote(message) for message in messages]
    at_once.write(FOLD.fold(at_once, records, 0, 0))
    edges = [0, *sorted(cuts), len(records)]
    for start, end in pairwise(edges):
        in_pieces.write(FOLD.fold(in_pieces, records[start:end], 0, 0))
    assert in_pieces.rows == at_once.rows
    for replay_id in "ab":
        replay = find(at_once, replay_id)
        opened = [found.replay_id for found in open_replays(at_once)]
        assert (replay_id in opened) == (replay is not None and replay.open)


def test_folding_writes_nothing_and_gives_the_same_answer_again():
    rows = Kept()
    rows.write(FOLD.fold(rows, [wrote(said("start"))], 0, 0))
    before = dict(rows.rows)
    batch = [wrote(moved(State.RUNNING, 1)), wrote(said("cancel"))]
    assert FOLD.fold(rows, batch, 0, 0) == FOLD.fold(rows, batch, 0, 0)
    assert rows.rows == before


def test_nothing_is_written_for_what_changes_nothing():
    rows = Kept()
    rows.write(FOLD.fold(rows, [wrote(said("start")), wrote(moved(State.RUNNING, 3))], 0, 0))
    again = FOLD.fold(rows, [wrote(said("start")), wrote(moved(State.RUNNING, 2))], 0, 0)
    assert again.sends == []
    assert again.counts == {"duplicate": 1, "stale": 1}


def test_what_an_investigator_is_given():
    rows = Kept()
    rows.write(FOLD.fold(rows, [wrote(said("start")), wrote(moved(State.RUNNING, 3)), wrote(said("cancel"))], 0, 0))
    (opened,) = open_replays(rows)
    assert (opened.replay_id, opened.command, opened.cancelled, opened.version) == ("r", said("start"), True, 3)
    rows.write(FOLD.fold(rows, [wrote(moved(State.CANCELLED, 4))], 0, 0))
    assert open_replays(rows) == []
    assert not any(key.startswith(b"o") for key in rows.rows)


def test_what_is_served_is_json_and_says_who_asked_for_what():
    rows = Kept()
    rows.write(FOLD.fold(rows, [wrote(said("start")), wrote(moved(State.RUNNING, 3, read=2))], 0, 0))
    shown = read(rows, "r")
    assert shown is not None
    assert orjson.loads(orjson.dumps(shown)) == shown
    assert (shown["state"], shown["name"], shown["requester"], shown["read"]) == ("RUNNING", "INC-7", "ada", 2)
    assert shown["requested_at"] == "2025-03-01T00:00:00.000000Z"
    assert read(rows, "nobody") is None


@pytest.mark.parametrize(
    ("record", "reason", "error_class"),
    [
        (Written("replay-commands", b"\xff"), deadletter.UNDECODABLE, "MalformedJson"),
        (Written("replay-commands", None), deadletter.UNDECODABLE, "NullValue"),
        (Written("replay-progress", b"{}"), deadletter.INVALID, "ValidationError"),
        (Written("replay-commands", b" " * 300_000), deadletter.OVERSIZED, "RecordTooLarge"),
        (Written("replay-commands", encode_command(said("start")), b"other"), deadletter.INVALID, "KeyMismatch"),
        (Written("replay-commands", encode_command(said("start")), None), deadletter.INVALID, "KeyMismatch"),
        (Written("replay-commands", encode_command(said("teleport"))), deadletter.INVALID, "UnknownAction"),
        (wrote(said("start", replay_id="elsewhere")), deadletter.MISROUTED, "Misrouted"),
    ],
)
def test_what_is_no_command_or_progress_is_a_dead_letter_and_the_next_is_folded(record, reason, error_class):
    rows = Kept()
    folded = FOLD.fold(rows, [record, wrote(said("start"))], 0, 5)
    rows.write(folded)
    (send,) = folded.sends
    headers = dict(send.headers)
    assert headers[deadletter.REASON].decode() == reason
    assert headers[deadletter.ERROR_CLASS].decode() == error_class
    assert send.value == record.value
    assert find(rows, "r") is not None


def test_a_row_above_the_limit_is_a_dead_letter_not_a_stuck_partition():
    small = ReplaysFold(partition_of=lambda key: 0, max_row_bytes=300)
    folded = small.fold(Kept(), [wrote(said("start"))], 0, 0)
    assert folded.rows == []
    assert dict(folded.sends[0].headers)[deadletter.REASON].decode() == deadletter.OVERSIZED


def test_a_limit_on_records_is_none_on_rows():
    """What the coverage of many partitions needs is no record's doing."""
    small = ReplaysFold(partition_of=lambda key: 0, max_record_bytes=1)
    folded = small.fold(Kept(), [wrote(said("start"))], 0, 0)
    assert len(folded.rows[0][1]) > 1
    assert not folded.sends


@given(
    st.sampled_from(["replay-commands", "replay-progress"]), st.binary(max_size=100), st.binary(max_size=20) | st.none()
)
def test_any_bytes_become_a_dead_letter(topic, value, key):
    folded = FOLD.fold(Kept(), [Written(topic, value, key)], 0, 0)
    assert folded.rows == []
    assert len(folded.sends) == 1


def test_a_row_of_another_version_says_so():
    rows = Kept()
    rows.write(FOLD.fold(rows, [wrote(said("start"))], 0, 0))
    value = rows.rows[replay_key("r")]
    with pytest.raises(UnknownRowFormat):
        decode_replay(b"\x63" + value[1:])
    with pytest.raises(DamagedRow):
        decode_replay(value[:-1])
