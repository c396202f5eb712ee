"""Whatever happens to batches on their way, every record comes out once, in offset order, or the log is foreign."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replayer.engine.batch import Batch, weight
from replayer.engine.inbox import Inbox, Verdict
from replayer.engine.position import Position, fingerprint
from tests.engine.records import Log

# What may happen to what is in flight between consumer thread and inbox.
MISHAPS = st.lists(
    st.tuples(st.sampled_from(["fetch", "deliver", "drop", "swap", "again", "reseek", "take"]), st.integers(0, 7)),
    max_size=30,
)
MANY = settings(max_examples=400)


class Journey:
    """A consumer that seeks when told, an adversary between it and the inbox, and a lane that takes."""

    def __init__(self, log: Log, position: Position | None) -> None:
        self.log, self.inbox = log, Inbox("t", position)
        self.epoch, self.flight, self.pieces = 0, [], []
        self.seek()

    def seek(self) -> None:
        self.epoch += 1
        self.next = self.inbox.seek_offset
        self.inbox.sought(self.epoch)

    def fetch(self, count: int) -> None:
        batches = self.log.fetch(self.next, count, self.epoch)
        if batches:
            self.next = batches[-1].after
        self.flight.extend(batches)

    def lane(self, room: int) -> Verdict:
        while (verdict := self.inbox.look()) is Verdict.READY:
            piece = self.inbox.take(room)
            if piece is None:
                break
            self.pieces.append(piece)
        if verdict is Verdict.SEEK:
            self.seek()
        return verdict

    def mishap(self, what: str, at: int) -> None:
        flight = self.flight
        if what == "fetch":
            self.fetch(at + 1)
        elif what == "take":
            self.lane(3 + at)
        elif what == "reseek":  # the consumer thread seeks by itself: the inbox hears nothing of the epoch
            self.epoch += 1
            self.next = self.inbox.seek_offset
        elif flight:
            index = at % len(flight)
            if what == "deliver":
                self.inbox.put(flight.pop(0))
            elif what == "drop":
                del flight[index]
            elif what == "again":
                flight.insert(0, flight[index])
            elif what == "swap":
                flight[0], flight[index] = flight[index], flight[0]

    def finish(self) -> Verdict:
        """The rest arrives as it should; ends when nothing is left."""
        for _ in range(1000):
            while self.flight:
                self.inbox.put(self.flight.pop(0))
            verdict = self.lane(1000)
            if verdict is Verdict.FOREIGN:
                return verdict
            if verdict is Verdict.EMPTY and self.next >= self.log.end:
                # Two looks apart, as the lane does: what was lost last is only missed by its absence.
                if not (self.inbox.overdue(self.next) or self.inbox.overdue(self.next)):
                    return verdict
                self.seek()
            self.fetch(5)
        raise AssertionError("the journey does not end")


@st.composite
def logs(draw):
    end = draw(st.integers(1, 20))
    offsets = draw(st.lists(st.integers(0, end - 1), unique=True))
    return Log(offsets, end)


@MANY
@given(logs(), MISHAPS, st.data())
def test_every_record_once_in_order(log, mishaps, data):
    folded = data.draw(st.sampled_from([None, *log.records]))
    if folded is None:
        position, first = None, 0
    else:
        first = folded.offset + 1
        position = Position(first, folded.offset, fingerprint(folded))
    journey = Journey(log, position)
    for what, at in mishaps:
        journey.mishap(what, at)

    assert journey.finish() is Verdict.EMPTY
    taken = [record for piece in journey.pieces for record in piece.records]
    assert taken == [record for record in log.records if record.offset >= first]
    assert journey.inbox.position == log.end
    assert all(piece.gap is None for piece in journey.pieces)
    assert [piece.size for piece in journey.pieces] == [weight(piece.records) for piece in journey.pieces]
    for one, next_one in zip(journey.pieces, journey.pieces[1:], strict=False):
        assert one.after <= next_one.after


@MANY
@given(logs(), MISHAPS, st.data())
def test_what_expired_is_one_gap_and_the_rest_comes_once(log, mishaps, data):
    log.start = data.draw(st.integers(1, log.end))
    folded = data.draw(st.sampled_from([None, *log.records]))
    position = Position(folded.offset + 1, folded.offset, fingerprint(folded)) if folded else None
    first = position.next if position else 0
    log.records = [record for record in log.records if record.offset >= log.start]
    journey = Journey(log, position)
    for what, at in mishaps:
        journey.mishap(what, at)

    assert journey.finish() is Verdict.EMPTY
    taken = [record for piece in journey.pieces for record in piece.records]
    assert taken == [record for record in log.records if record.offset >= first]
    gaps = [piece.gap for piece in journey.pieces if piece.gap is not None]
    assert gaps == ([(first, log.start)] if log.start > first else [])
    assert journey.inbox.position == max(first, log.end)


@MANY
@given(logs(), MISHAPS, st.data())
def test_another_log_under_the_same_name_is_foreign_and_nothing_of_it_is_taken(log, mishaps, data):
    folded = data.draw(st.sampled_from(Log(range(log.end), log.end, salt=b"before").records))
    journey = Journey(log, Position(folded.offset + 1, folded.offset, fingerprint(folded)))
    for what, at in mishaps:
        journey.mishap(what, at)

    assert journey.finish() is Verdict.FOREIGN
    assert journey.pieces == []
    assert str(folded.offset) in journey.inbox.why


def test_a_position_above_the_end_is_foreign():
    journey = Journey(Log([0, 1], 2), Position.behind_gap(9))
    journey.fetch(1)
    assert journey.finish() is Verdict.FOREIGN
    assert "stands at offset 9 but the log ends at 2" in journey.inbox.why


def test_an_empty_position_behind_a_gap_is_not_verified():
    journey = Journey(Log([4, 5], 6, start=4), Position.behind_gap(4))
    journey.finish()
    assert [record.offset for piece in journey.pieces for record in piece.records] == [4, 5]


def test_of_a_batch_that_does_not_fit_into_the_room_the_rest_waits():
    inbox = Inbox("t", None)
    for batch in Log([0, 1, 3, 4, 6], 8).fetch(0, 8, 0, max_records=4):
        inbox.put(batch)
    taken = []
    for room in (3, 0, 2, 5):
        assert inbox.look() is Verdict.READY
        piece = inbox.take(room)
        if piece is not None:
            offsets = [record.offset for record in piece.records]
            taken.append((offsets, piece.after, piece.size, inbox.batches, inbox.records, inbox.bytes))
    # Each record here weighs two bytes: a key and a value of one.
    assert taken == [([0, 1, 3], 4, 6, 2, 2, 4), ([4], 5, 2, 1, 1, 2), ([6], 8, 2, 0, 0, 0)]
    assert inbox.look() is Verdict.EMPTY


def test_a_seek_voids_the_rest_as_well():
    inbox = Inbox("t", None)
    inbox.put(Batch("t", 0, Log(range(6), 6).records, 0, 6, 1))
    inbox.sought(1)
    inbox.put(Batch("t", 0, Log(range(6), 6).records, 0, 6, 1))
    assert inbox.look() is Verdict.READY
    assert inbox.take(2) is not None
    inbox.sought(2)
    assert inbox.look() is Verdict.EMPTY
    assert (inbox.batches, inbox.records, inbox.bytes, inbox.seek_offset) == (0, 0, 0, 2)


def test_only_the_part_above_the_position_is_weighed_against_the_room():
    log = Log(range(6), 6)
    inbox = Inbox("t", Position(4, 3, fingerprint(log.records[3])))
    inbox.put(Batch("t", 0, log.records, 0, 6, 0))
    assert inbox.look() is Verdict.READY
    piece = inbox.take(2)
    assert piece is not None
    assert [record.offset for record in piece.records] == [4, 5]
    assert piece.size == weight(piece.records)


@pytest.mark.parametrize("epoch", [1, 2])
def test_batches_fetched_before_the_seek_are_void(epoch):
    inbox = Inbox("t", None)
    inbox.sought(3)
    inbox.put(Batch("t", 0, Log([0], 1).records, 0, 1, epoch))
    assert inbox.look() is Verdict.EMPTY


def test_a_last_batch_that_got_lost_is_noticed_at_the_second_look():
    journey = Journey(Log([0, 1], 2), None)
    journey.fetch(2)
    journey.flight.clear()
    assert not journey.inbox.overdue(2), "it may still be on its way"
    assert journey.inbox.overdue(2)


def test_nothing_is_overdue_while_something_waits_or_moves():
    inbox = Inbox("t", None)
    assert not inbox.overdue(3)
    assert not inbox.overdue(5), "fetching goes on"
    inbox.put(Log([0], 5).fetch(0, 5, 0)[0])
    assert not inbox.overdue(5)
    assert not inbox.overdue(5)
