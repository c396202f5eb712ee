"""What a lane folds, makes durable and stores together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from replayer.core.outcome import Record
from replayer.core.unread import joined
from replayer.engine.inbox import Piece
from replayer.engine.position import Position, fingerprint


@dataclass(slots=True)
class Step:
    """Pieces of the sources, each up to its new position."""

    pieces: list[Piece] = field(default_factory=list)

    def add(self, piece: Piece) -> None:
        last = self.pieces[-1] if self.pieces else None
        if last is not None and last.topic == piece.topic and piece.gap is None:
            records = joined([last.records, piece.records])
            self.pieces[-1] = Piece(piece.topic, records, piece.after, last.gap, last.size + piece.size)
        else:
            self.pieces.append(piece)

    @property
    def records(self) -> Sequence[Record]:
        return joined([piece.records for piece in self.pieces])

    @property
    def offsets(self) -> dict[str, int]:
        return {piece.topic: piece.after for piece in self.pieces}

    @property
    def gaps(self) -> list[tuple[str, tuple[int, int]]]:
        return [(piece.topic, piece.gap) for piece in self.pieces if piece.gap is not None]

    @property
    def worth_storing(self) -> bool:
        """Markers alone move the position in memory; they become durable with the next record."""
        return any(piece.records or piece.gap for piece in self.pieces)

    def positions(self, known: Mapping[str, Position]) -> dict[str, Position]:
        """The new position of every source in this step: `offsets`, each with the record before it."""
        positions: dict[str, Position] = {}
        for piece in self.pieces:
            before = positions.get(piece.topic) or known.get(piece.topic)
            if piece.records:
                last = piece.records[-1]
                positions[piece.topic] = Position(piece.after, last.offset, fingerprint(last))
            elif piece.gap is not None or before is None:
                positions[piece.topic] = Position.behind_gap(piece.after)
            else:
                positions[piece.topic] = Position(piece.after, before.last, before.fingerprint)
        return positions
