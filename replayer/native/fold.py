"""The fold of events into timelines, native where it can be: what it does not understand, Python's fold does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import add

import msgspec

from replayer.core.fetched import Fetched, fetched
from replayer.core.indexing import Shelves, indexed
from replayer.core.outcome import Folded, Folding, Record, Rows, Send, whole
from replayer.core.rows import DECISION, EVENT, HEAD, IDENTITY
from replayer.core.timeline import KeyedOtherwise, TimelineFold, by_key
from replayer.native.library import Library, NotDone, Pairs
from topics.bounds import Limits
from topics.catalogue import TEMPLATE_USAGE

#: Records handed over at once, about a millisecond of work: others have their turn between two pieces.
_AT_A_TIME = 256
#: The order of the changelog.
_KINDS = (EVENT, IDENTITY, DECISION, HEAD)
#: What Step.fold answers with, in its order.
_ROWS = ("events", "implied", "noted", "decisions", "heads")
_COUNTS = ("folded", "duplicate", "variant", "reprocessed", "late")
_encode = msgspec.msgpack.Encoder().encode

_Groups = dict[bytes | None, list[Record]]
_Piece = list[tuple[bytes, bool, list[Record]]]
"""Keys, whether these are the last of their records, and records."""


class NativeFold:
    """Folds as TimelineFold does, with the same arguments, promises and answers.

    Records of one key are folded by native code if it understands all of them and of their rows, else by TimelineFold.
    Rows come in the order of their kinds, and within a workflow in the order of commits; workflows that were left to
    Python come last. `indexed`: steps also say what they used, as `replayer.core.indexing.indexed` has them say it.
    Raises NoLibrary.
    """

    def __init__(
        self,
        *,
        partition_of: Callable[[bytes], int],
        max_record_bytes: int,
        indexed: bool = False,
        library: Library | None = None,
    ) -> None:
        self._indexed = indexed
        self._partition_of = partition_of
        self._python = TimelineFold(
            partition_of=partition_of, max_record_bytes=max_record_bytes, limits=Limits(max_record_bytes)
        )
        self._library = library or Library(max_record_bytes)

    def folding(self, rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folding:
        """As TimelineFold.folding."""
        groups = by_key(records)
        try:
            return (yield from self._folding(rows, groups, partition, now_ms))
        except NotDone:  # what is broken there is not broken here
            return (yield from self._said(self._python.folding(rows, records, partition, now_ms)))
        except KeyedOtherwise:
            return (yield from self._said(self._python.folding_in_order(rows, records, partition, now_ms)))

    def fold(self, rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folded:
        """`folding` without pauses."""
        return whole(self.folding(rows, records, partition, now_ms))

    def _said(self, folding: Folding) -> Folding:
        """Python's fold, which says what was used where that is wanted."""
        return indexed(folding) if self._indexed else folding

    def frame(self, rows: Sequence[tuple[bytes, bytes | None]], limit: int) -> list[tuple[bytearray, int]] | None:
        """As replayer.engine.config.Frame."""
        try:
            return self._library.framed(_encode(rows), limit)
        except NotDone:
            return None

    def _folding(self, rows: Rows, groups: _Groups, partition: int, now_ms: int) -> Folding:
        taken: list[Pairs] = [[] for _ in _ROWS]
        counts = [0] * len(_COUNTS)
        left: set[bytes | None] = {None}
        said: Pairs = []
        shelves = Shelves()
        with self._library.step(indexed=self._indexed) as step:
            for piece in _pieces(groups):
                told = _told(piece)
                asked, keys = step.parse(told)
                values = rows.get_many([*(key for _, key in asked), *keys])
                elsewhere = [
                    number
                    for (number, _), value in zip(asked, values, strict=False)
                    if value is None and self._partition_of(piece[number][0]) != partition
                ]
                made, failed, counted, unsaid = step.fold(told, _encode((elsewhere, values)))
                for kept, new in zip(taken, made, strict=True):
                    kept += new
                counts = list(map(add, counts, counted))
                left.update(piece[number][0] for number in failed)
                shelves.take(made[0][number] for number in unsaid)
                yield
            if self._indexed:
                said = step.usage()
        events, implied, noted, decisions, heads = taken
        folded = Folded(
            rows=[*events, *noted, *decisions, *heads],
            implied=implied,
            sends=[*(Send(TEMPLATE_USAGE.name, key, value) for key, value in said), *shelves.sends()],
            counts={name: count for name, count in zip(_COUNTS, counts, strict=True) if count},
        )
        rest = [group for key, group in groups.items() if key in left]
        if rest:
            folded.add((yield from self._said(self._python.folding_groups(rows, rest, partition, now_ms))))
            folded.rows.sort(key=lambda row: _KINDS.index(row[0][:1]))
        return folded


def _told(piece: _Piece) -> bytes:
    """Step.parse's input: records as they were fetched, without a step of Python's for each."""
    return _encode([(key, last, part if _as_fetched(part) else list(map(fetched, part))) for key, last, part in piece])


def _as_fetched(part: Sequence[Record]) -> bool:
    """Of all, by the first; where that is wrong, the piece is no piece, and left to Python."""
    return not part or type(part[0]) is Fetched


def _pieces(groups: _Groups) -> Iterator[_Piece]:
    """Records a piece at a time; a group that does not fit goes on in the next one, as its first."""
    piece: _Piece = []
    room = _AT_A_TIME
    for key, group in groups.items():
        if key is None:
            continue
        start = 0
        while start < len(group):
            part = group[start : start + room]
            start += len(part)
            room -= len(part)
            piece.append((key, start == len(group), part))
            if not room:
                yield piece
                piece, room = [], _AT_A_TIME
    if piece:
        yield piece
