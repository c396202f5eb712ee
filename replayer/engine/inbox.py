"""What one source partition has waiting for its lane, and the rule that a batch must start where the table stands."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from replayer.core.outcome import Record
from replayer.engine.batch import Batch, since, weight
from replayer.engine.position import Position, fingerprint


class Verdict(Enum):
    """What the lane must do after a look into an inbox."""

    EMPTY = "empty"
    READY = "ready"
    SEEK = "seek"  # the head of the inbox lies above the position: fetch again from `seek_offset`
    FOREIGN = "foreign"  # the log is not the one this table was folded from


@dataclass(slots=True)
class Piece:
    """A contiguous stretch of one source, cut to begin at the table's position.

    `gap` is (position, log start) where the records between had expired before they were folded; `size` is in bytes of
    keys and values.
    """

    topic: str
    records: Sequence[Record]
    after: int
    gap: tuple[int, int] | None
    size: int


class Inbox:
    """Batches of one source partition, in the order they arrived.

    Faust may deliver later batches first, deliver some twice and drop others within one generation, so arrival order
    means nothing here: a batch below the position is cut, one above it makes the lane seek back, and batches fetched
    before that seek are ignored.
    """

    def __init__(self, topic: str, position: Position | None) -> None:
        self.topic = topic
        self.position = position.next if position is not None else 0
        self.batches = self.records = self.bytes = 0
        self.suspended = False
        self.why = ""  # of a FOREIGN verdict
        self._unverified = position if position is not None and position.verifiable else None
        self._epoch = 0
        self._missing: int | None = None
        self._waiting: deque[Batch] = deque()

    @property
    def seek_offset(self) -> int:
        """Where fetching must start: at the last record folded, which is read again to see that the log is the same."""
        return self._unverified.last if self._unverified is not None else self.position

    def sought(self, epoch: int) -> None:
        """A seek was made; whatever was fetched before it is void."""
        self._epoch = epoch
        self._missing = None
        self.clear()

    def clear(self) -> None:
        """Forget what waits; it is fetched again by whoever seeks next."""
        self._waiting.clear()
        self.batches = self.records = self.bytes = 0

    def put(self, batch: Batch) -> None:
        if batch.epoch >= self._epoch:
            self._waiting.append(batch)
            self._count(batch, 1)

    def overdue(self, reached: int) -> bool:
        """Whether a batch got lost that nothing later gives away: to be asked about once a second.

        `reached` is how far fetching has come. True when it was above the position at two looks in a row, with nothing
        waiting here and nothing fetched between the looks.
        """
        missing = reached if not self._waiting and reached > self.seek_offset else None
        lost = missing is not None and missing == self._missing
        self._missing = missing
        return lost

    def look(self) -> Verdict:
        """Drop what is folded already; say what the first remaining batch asks for."""
        while self._waiting:
            head = self._waiting[0]
            if head.beyond is not None:
                self.why = f"the table stands at offset {head.beyond[0]} but the log ends at {head.beyond[1]}"
                return Verdict.FOREIGN
            if self._unverified is not None and (verdict := self._verify(head, self._unverified)) is not None:
                return verdict
            if head.after <= self.position:
                self._drop()
            elif head.before > self.position:
                return Verdict.SEEK
            else:
                return Verdict.READY
        return Verdict.EMPTY

    def _verify(self, batch: Batch, expected: Position) -> Verdict | None:
        """None: nothing against this batch (it need not hold the record that is looked for)."""
        if batch.before > expected.last:
            return Verdict.SEEK
        if batch.after <= expected.last:
            return None
        if batch.gap is not None:  # the record has expired since: there is nothing left to compare with
            self._unverified = None
            return None
        for record in batch.records:
            if record.offset == expected.last:
                if fingerprint(record) == expected.fingerprint:
                    self._unverified = None
                    return None
                self.why = f"the record at offset {expected.last} is not the one that was folded"
                return Verdict.FOREIGN
        self.why = f"the record at offset {expected.last}, which was folded, is not in the log any more"
        return Verdict.FOREIGN

    def take(self, room: int) -> Piece | None:
        """Of the first batch what lies above the position, `room` records at most; the rest of it waits.

        None without room for any of its records. Call only after READY.
        """
        head = self._waiting[0]
        records: Sequence[Record] = head.records
        size = head.size  # known already: adding it up again took a twentieth of the worker's time
        if records and records[0].offset < self.position:
            records = since(records, self.position)
            size = weight(records)
        if len(records) > room:
            if not room:
                return None
            # A fetch is a little more than a step: taken whole or not at all, every second step was a small one.
            records, left = records[:room], records[room:]
            self._drop()
            self.position = records[-1].offset + 1
            rest = Batch(head.topic, head.partition, left, self.position, head.after, head.epoch, size=weight(left))
            self._waiting.appendleft(rest)
            self._count(rest, 1)
            return Piece(self.topic, records, self.position, None, size - rest.size)
        self._drop()
        gap = (self.position, head.after) if head.gap is not None else None
        self.position = head.after
        return Piece(self.topic, records, head.after, gap, size)

    def _drop(self) -> None:
        self._count(self._waiting.popleft(), -1)

    def _count(self, batch: Batch, sign: int) -> None:
        self.batches += sign
        self.records += sign * len(batch.records)
        self.bytes += sign * batch.size
