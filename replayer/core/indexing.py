"""What a step's rows say was used, as records of `template-usage`: for the index, in the step's own transaction.

The rows are the timelines' own (event rows of variants seen first, decisions that changed), whoever folded them. A step
that is folded again says the same again: the index takes it for what it is (topics.usage).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from replayer.core.decisions import Decision, decode_decision
from replayer.core.errors import DamagedRow
from replayer.core.glimpse import glimpse
from replayer.core.outcome import Folding, Send
from replayer.core.rows import DECISION, EVENT, FORMAT_BYTE, FUTURE, NUL, decode_event, prefix_of
from replayer.core.shelf import TEMPLATE, bucket_of, shelf, thing
from topics.catalogue import TEMPLATE_USAGE
from topics.usage import Standing, Touch, Usage, Use

_AT_A_TIME = 200  # rows: about a millisecond of work
_MOST = 1000  # uses, and standings, in a record: a few hundred bytes each
_OVERRIDE = "workflow.human_override"

_encode = msgspec.msgpack.Encoder().encode


def indexed(folding: Folding) -> Folding:
    """The fold of a step, which then also says what it used. All its promises are those of `folding`."""
    folded = yield from folding
    shelves = Shelves()
    for start in range(0, len(folded.rows), _AT_A_TIME):
        shelves.take(folded.rows[start : start + _AT_A_TIME])
        yield
    folded.sends.extend(shelves.sends())
    return folded


class _Workflow(NamedTuple):
    tenant_id: str
    workflow_id: str
    bucket: int


class Shelves:
    """What rows of the timelines say was used, by shelf."""

    def __init__(self) -> None:
        self._workflows: dict[bytes, _Workflow] = {}
        self._uses: defaultdict[bytes, list[Use]] = defaultdict(list)
        self._touches: defaultdict[bytes, dict[tuple[bytes, str], Touch]] = defaultdict(dict)
        self._standings: defaultdict[bytes, list[Standing]] = defaultdict(list)

    def take(self, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Rows of other kinds say nothing. Raises DamagedRow, UnknownRowFormat."""
        for key, value in rows:
            if value is None:
                continue
            kind = key[:1]
            if kind == EVENT:
                self._event(key, value)
            elif kind == DECISION:
                self._decision(key, decode_decision(value))

    def _event(self, key: bytes, value: bytes) -> None:
        prefix = prefix_of(key)
        row = decode_event(prefix, key, value)
        if row.marks & FUTURE:
            return
        try:
            seen = glimpse(row.projection)
        except msgspec.MsgspecError as damaged:
            raise DamagedRow("event") from damaged
        if seen is None:
            return
        tenant_id, workflow_id, bucket = self._workflow(prefix)
        decision_id, used, touched = seen
        if used is not None:
            named, detail = used
            self._uses[shelf(named, bucket)].append(
                Use(
                    tenant_id, workflow_id, decision_id, row.occurred_us, row.event_id, row.variant,
                    row.topic, row.partition, row.offset, row.index, detail,
                )
            )  # fmt: skip
        who = (prefix, decision_id)
        for named in touched:
            touches = self._touches[shelf(named, bucket)]
            known, now = touches.get(who), row.occurred_us
            first, last = (now, now) if known is None else (min(known.occurred_us, now), max(known.last_us, now))
            touches[who] = Touch(tenant_id, workflow_id, decision_id, first, last)

    def _decision(self, key: bytes, decision: Decision) -> None:
        if not decision.templates:
            return
        tenant_id, workflow_id, bucket = self._workflow(prefix_of(key))
        latest = decision.feedback
        standing = Standing(
            tenant_id,
            workflow_id,
            decision.decision_id,
            decision.events,
            decision.status,
            decision.counts.get(_OVERRIDE, 0) > 0,
            tuple(sorted(decision.policy_outcomes)),
            decision.feedbacks,
            None if latest is None else latest.score,
            None if latest is None else latest.label,
        )
        for template in decision.templates:
            for named in _readings(template):
                self._standings[shelf(named, bucket)].append(standing)

    def _workflow(self, prefix: bytes) -> _Workflow:
        found = self._workflows.get(prefix)
        if found is None:
            tenant, workflow, _ = prefix.split(NUL)
            found = self._workflows[prefix] = _Workflow(tenant.decode(), workflow.decode(), bucket_of(workflow))
        return found

    def sends(self) -> Iterator[Send]:
        """A record for each shelf, or some where there is much."""
        for key in {**self._uses, **self._touches, **self._standings}:
            uses, standings = self._uses.get(key, []), self._standings.get(key, [])
            touches = list(self._touches.get(key, {}).values())
            for start in range(0, max(len(uses), len(touches), len(standings)), _MOST):
                part = slice(start, start + _MOST)
                usage = Usage(uses[part], touches[part], standings[part])
                yield Send(TEMPLATE_USAGE.name, key, FORMAT_BYTE + _encode(usage))


def _readings(template: str) -> Iterator[bytes]:
    """The things that `id@version` may mean: more than one where either has an @ in it.

    A standing on the shelf of a template that the decision has not used counts for nothing there.
    """
    parts = template.split("@")
    for at in range(1, len(parts)):
        name, version = "@".join(parts[:at]), "@".join(parts[at:])
        if name and version:
            yield thing(TEMPLATE, name, version)
