"""The fold of usage into the index, native where it can be: a step that is not understood, Python's fold does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from replayer.core.index import IndexFold
from replayer.core.outcome import Folded, Folding, Record, Rows, whole
from replayer.core.unread import Unread
from replayer.native.library import Library, NotDone
from replayer.native.wire import unread

#: Uses, touches and standings folded at once, about a millisecond of work: others have their turn between.
_AT_A_TIME = 1000
_COUNTS = ("folded", "reprocessed", "duplicate")
_encode = msgspec.msgpack.Encoder().encode


class NativeIndexFold:
    """Folds as IndexFold does, with the same arguments, promises and answers; rows of a kind come in any order."""

    def __init__(self, *, partition_of: Callable[[bytes], int], max_record_bytes: int, library: Library) -> None:
        self._partition_of, self._library = partition_of, library
        self._python = IndexFold(partition_of=partition_of, max_record_bytes=max_record_bytes)

    def folding(self, rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folding:
        """As IndexFold.folding."""
        try:
            return (yield from self._folding(rows, records, partition))
        except NotDone:
            return (yield from self._python.folding(rows, records, partition, now_ms))

    def fold(self, rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folded:
        """`folding` without pauses."""
        return whole(self.folding(rows, records, partition, now_ms))

    def _folding(self, rows: Rows, records: Sequence[Record], partition: int) -> Folding:
        told = records if isinstance(records, Unread) else unread(self._library, records)
        with self._library.shelving() as step:
            if any(self._partition_of(shelf) != partition for shelf in step.load(told)):
                raise NotDone
            done = 0
            while done < len(told):
                keys, taken = step.parse(_AT_A_TIME)
                step.fold(_encode(rows.get_many(keys)))
                done += taken
                yield
            found, counts = step.finish()
        return Folded(rows=found, counts={name: count for name, count in zip(_COUNTS, counts, strict=True) if count})
