"""The fold of events into timelines, native where it can be: what it does not understand, Python's fold does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import add

import msgspec

from replayer.core.indexing import Shelves, indexed
from replayer.core.outcome import Folded, Folding, Record, Rows, Send, whole
from replayer.core.rows import DECISION, EVENT, HEAD, IDENTITY
from replayer.core.timeline import KeyedOtherwise, TimelineFold
from replayer.core.unread import Unread
from replayer.native.library import Library, NotDone, Pairs
from replayer.native.wire import unread
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
        self.library = library or Library(max_record_bytes)

    def folding(self, rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folding:
        """As TimelineFold.folding."""
        try:
            return (yield from self._folding(rows, records, partition, now_ms))
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

    def _folding(self, rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folding:
        told = records if isinstance(records, Unread) else unread(self.library, records)
        taken: list[Pairs] = [[] for _ in _ROWS]
        counts = [0] * len(_COUNTS)
        said: Pairs = []
        shelves = Shelves()
        with self.library.step(indexed=self._indexed) as step:
            for _ in range(0, step.load(told), _AT_A_TIME):
                asked, keys = step.parse(_AT_A_TIME)
                values = rows.get_many([*(head for _, head, _ in asked), *keys])
                elsewhere = [
                    number
                    for (number, _, key), value in zip(asked, values, strict=False)
                    if value is None and self._partition_of(key) != partition
                ]
                made, counted, unsaid = step.fold(_encode((elsewhere, values)))
                for kept, new in zip(taken, made, strict=True):
                    kept += new
                counts = list(map(add, counts, counted))
                shelves.take(made[0][number] for number in unsaid)
                yield
            left = step.left()
            if self._indexed:
                said = step.usage()
        events, implied, noted, decisions, heads = taken
        folded = Folded(
            rows=[*events, *noted, *decisions, *heads],
            implied=implied,
            sends=[*(Send(TEMPLATE_USAGE.name, key, value) for key, value in said), *shelves.sends()],
            counts={name: count for name, count in zip(_COUNTS, counts, strict=True) if count},
        )
        if left:
            rest = [[records[number] for number in group] for group in left]
            folded.add((yield from self._said(self._python.folding_groups(rows, rest, partition, now_ms))))
            folded.rows.sort(key=lambda row: _KINDS.index(row[0][:1]))
        return folded
