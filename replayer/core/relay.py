"""Records of a topic that is keyed otherwise, or is not of ours, sent on as events keyed by workflow ID."""

from __future__ import annotations

from collections.abc import Sequence

from replayer.core.deadletters import dead_letter
from replayer.core.origin import Origin
from replayer.core.outcome import Folded, Folding, Record, Rows, Send, whole
from topics import deadletter
from topics.bounds import Limits
from topics.catalogue import REKEYED_EVENTS
from topics.codec import document, read
from topics.mapping import Foreign, Rules, Unmapped
from topics.undecodable import Undecodable

_AT_A_TIME = 60
_TRACEPARENT = "traceparent"


class RelayFold:
    """A fold without rows: each record becomes a record of `rekeyed-events`, or a dead letter that says why not.

    `rules`: the first of them that concern a record make its event; where there are none, values are events already.
    Only what is an event by all rules of its type is sent on, with where it came from in a header. A record that is
    folded again is sent again: who folds what was sent takes it for the duplicate it is.
    """

    def __init__(self, rules: Sequence[Rules], *, max_record_bytes: int) -> None:
        self._rules, self._limits = tuple(rules), Limits(max_record_bytes=max_record_bytes)

    def folding(self, rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folding:
        """Sends, in the order of the records. Pure."""
        folded, counts = Folded(), {"relayed": 0, "dead_letter": 0}
        for number, record in enumerate(records):
            if number % _AT_A_TIME == _AT_A_TIME - 1:
                yield
            sent = self._sent(record)
            if isinstance(sent, Undecodable):
                counts["dead_letter"] += 1
                limit = self._limits.max_record_bytes
                sent = dead_letter(record, sent.reason, sent.error_class, sent.detail, limit, now_ms)
            else:
                counts["relayed"] += 1
            folded.sends.append(sent)
        folded.counts = {name: count for name, count in counts.items() if count}
        return folded

    def fold(self, rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folded:
        """`folding` without pauses."""
        return whole(self.folding(rows, records, partition, now_ms))

    def _sent(self, record: Record) -> Send | Undecodable:
        made = self._made(record) if self._rules else record.value
        if isinstance(made, Undecodable):
            return made
        found = read(made, limits=self._limits, headers=record.headers)
        if isinstance(found, Undecodable):
            return found
        event, _ = found
        origin = Origin(record.topic, record.partition, record.offset, max(record.timestamp, 0))
        traced = [(name, value) for name, value in record.headers if name == _TRACEPARENT][:1]
        return Send(REKEYED_EVENTS.name, event.workflow_id.encode(), made, (origin.header(), *traced))

    def _made(self, record: Record) -> bytes | Undecodable:
        value = document(record.value, limits=self._limits)
        if isinstance(value, Undecodable):
            return value
        seen = Foreign(
            record.topic, record.partition, record.offset, max(record.timestamp, 0), record.key, record.headers
        )
        for number, rules in enumerate(self._rules):
            concerned = rules.concern(seen, value)
            if isinstance(concerned, Unmapped):
                return _refused(number, concerned)
            if concerned:
                made = rules.apply(seen, value)
                return _refused(number, made) if isinstance(made, Unmapped) else made
        return Undecodable(deadletter.UNMAPPED, "NothingMatched", "when: no rules concern this record")


def _refused(number: int, unmapped: Unmapped) -> Undecodable:
    """Named as it is declared: its mapping by its place, from 0, and its field."""
    return Undecodable(deadletter.UNMAPPED, unmapped.error_class, f"events[{number}].{unmapped.rule}: {unmapped.why}")
