"""What a step adds up to: offsets to commit and positions to store say the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from replayer.engine.batch import weight
from replayer.engine.inbox import Piece
from replayer.engine.position import Position, fingerprint
from replayer.engine.step import Step
from tests.engine.records import Rec

PIECES = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 2), st.booleans()), max_size=8)


def made(parts):
    """Pieces as inboxes cut them: contiguous per topic."""
    step, at, all_pieces = Step(), {"a": 10, "b": 10}, []
    for topic, records, markers, gap in parts:
        start = at[topic]
        if gap:
            piece = Piece(topic, [], start + 5, (start, start + 5), 0)
        else:
            found = [Rec(start + i, topic=topic) for i in range(records)]
            piece = Piece(topic, found, start + records + markers, None, weight(found))
        at[topic] = piece.after
        all_pieces.append(piece)
        step.add(piece)
    return step, all_pieces


@given(PIECES, st.booleans())
def test_positions_are_the_offsets_with_the_record_before_them(parts, known):
    step, pieces = made(parts)
    before = {topic: Position(10, 7, b"f" * 16) for topic in "ab"} if known else {}
    positions = step.positions(before)
    assert {topic: position.next for topic, position in positions.items()} == step.offsets
    for topic, position in positions.items():
        mine = [piece for piece in pieces if piece.topic == topic]
        since_gap = mine[max((i for i, piece in enumerate(mine) if piece.gap), default=0) :]
        records = [record for piece in since_gap for record in piece.records]
        if records:
            assert (position.last, position.fingerprint) == (records[-1].offset, fingerprint(records[-1]))
        elif any(piece.gap for piece in mine) or not known:
            assert not position.verifiable
        else:
            assert (position.last, position.fingerprint) == (7, b"f" * 16)


@given(PIECES)
def test_nothing_is_lost_when_pieces_are_joined(parts):
    step, pieces = made(parts)
    for topic in "ab":
        assert [r for r in step.records if r.topic == topic] == [
            r for piece in pieces if piece.topic == topic for r in piece.records
        ]
    assert step.gaps == [(piece.topic, piece.gap) for piece in pieces if piece.gap]
    assert step.worth_storing == any(piece.records or piece.gap for piece in pieces)
