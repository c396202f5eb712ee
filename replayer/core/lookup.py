"""Reading one partition of the `templates` table: what is on its shelves, and pages in the order of time.

Positions are tuples of what the rows are ordered by, across all shelves of a thing: pages of several partitions can be
merged, and one resumed after rows were added neither repeats an item nor loses one that stayed where it was. A decision
stands at its first use: an earlier one that is told late moves it, and who has read past its new place has missed it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

from replayer.core.errors import TooBroad
from replayer.core.outcome import Rows
from replayer.core.page import Page, Position, checked
from replayer.core.rows import NUL, VARIANT_BYTES, time
from replayer.core.shelf import MODEL, POLICY, TEMPLATE, Shelf, opened, thing, things
from replayer.core.shelf_head import MILLIONTHS, ShelfHead, decode_shelf_head
from replayer.core.shelf_rows import (
    EVALUATION,
    HEAD,
    TIME,
    Contribution,
    Place,
    contribution_key,
    decode_contribution,
    decode_place,
    when_and_who,
    who,
)
from topics.families.policy import PolicyOutcome
from topics.fields import rfc3339

OUTCOMES: tuple[str, ...] = tuple(sorted(get_args(PolicyOutcome)))
"""Of policies, in the order of their names."""

MAX_LOOKED = 10_000
"""Heads that one question may look at in a partition, or a page may hold."""
MAX_SHELVES = 1_000
"""Shelves that are merged at once: each is read by an iterator of its own."""

On = tuple[bytes, Shelf]
"""A shelf by its key."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """[from_us, to_us) of time, of one tenant or all."""

    from_us: int | None = None
    to_us: int | None = None
    tenant_id: str | None = None

    def takes(self, tenant_id: str) -> bool:
        return self.tenant_id is None or self.tenant_id == tenant_id


def shelves(
    rows: Rows, kind: bytes, name: str | None, version: str | None = None
) -> list[tuple[bytes, Shelf, ShelfHead]]:
    """Keys, shelves and heads of a thing, or of all of a kind; in one version (empty: of what has none) or any.

    Raises TooBroad.
    """
    return [(key, shelf, decode_shelf_head(value)) for key, shelf, value in _shelves(rows, kind, name, version)]


def _shelves(rows: Rows, kind: bytes, name: str | None, version: str | None) -> list[tuple[bytes, Shelf, bytes]]:
    """The same, heads as they are stored."""
    prefix = kind
    if name is not None and kind != MODEL:  # a model may be asked for without its provider; there are few
        prefix = things(kind, name) if version is None else thing(kind, name, version)
    found: list[tuple[bytes, Shelf, bytes]] = []
    for looked, (key, value) in enumerate(rows.scan(HEAD + prefix)):
        if looked == MAX_LOOKED or len(found) == MAX_SHELVES:
            raise TooBroad("There are too many to look through at once: name one, or one version of it.")
        shelf = opened(key[1:])
        if version in (None, shelf.version) and (kind != MODEL or name in (None, *_names(shelf))):
            found.append((key[1:], shelf, value))
    return found


def _names(model: Shelf) -> tuple[str, str]:
    """With its provider and without."""
    return model.name, model.name.partition("/")[2]


class Heads:
    """The heads of a partition's shelves: those of `limit` things of a kind, or of `limit` versions of one.

    Read in steps, with the rows of the moment. `found`: keys and heads, of no thing in part once all steps are done;
    then `upto` is the position to go on after, (name,), or (version,) where a name is given; None: that is all.
    """

    def __init__(self, kind: bytes, name: str | None, after: Position | None, limit: int) -> None:
        """Raises InvalidPosition."""
        self._kind, self._name, self._limit = kind, name, limit
        self._prefix = HEAD + (kind if name is None else things(kind, name))
        self._start: bytes | None = None
        if after is not None:
            (last,) = checked(after, str)
            # Behind all that begins alike: no UTF-8 has this byte.
            self._start = HEAD + (things(kind, last) if name is None else thing(kind, name, last)) + b"\xff"
        self._group: str | None = None
        self._groups = 0
        self.found: list[tuple[bytes, ShelfHead]] = []
        self.upto: Position | None = None

    def step(self, rows: Rows, most: int) -> bool:
        """Look at so many heads more; whether there is more to do."""
        for looked, (key, value) in enumerate(rows.scan(self._prefix, self._start)):
            if looked == most:
                self._start = key
                return True
            shelf, head = opened(key[1:]), decode_shelf_head(value)
            if self._kind == TEMPLATE and not head.uses:
                continue  # something was said of it, and nobody has used it: it may not even be one
            group = shelf.name if self._name is None else shelf.version
            if group != self._group:
                if self._group is not None and (self._groups == self._limit or len(self.found) >= MAX_LOOKED):
                    self.upto = (self._group,)
                    return False
                self._group, self._groups = group, self._groups + 1
            self.found.append((key[1:], head))
        return False


def list_decisions(
    rows: Rows, kind: bytes, name: str | None, version: str | None, outcome: str | None, stretch: Stretch,
    after: Position | None, limit: int, scan_budget: int = 10_000,
) -> Page:  # fmt: skip
    """Decisions that used a thing, by (first use, tenant, workflow, decision, name, version): O(page) and shelves.

    Raises TooBroad, InvalidPosition.
    """
    behind = None if after is None else checked(after, int, str, str, str, str, str)
    on = [(key, shelf) for key, shelf, _ in _shelves(rows, kind, name, version)]
    found = heapq.merge(*(_times(rows, one, outcome or "", stretch, behind) for one in on))
    taken: list[tuple[Position, On]] = []
    reached: Position | None = None
    following: Position | None = None
    for seen, (place, one) in enumerate(found):
        if len(taken) >= limit or seen >= scan_budget:
            following = reached
            break
        reached = place
        if stretch.takes(place[1]):
            taken.append((place, one))
    values = rows.get_many([contribution_key(key, who(*place[1:4])) for place, (key, _) in taken])
    items = [
        _decision(shelf, place, decode_contribution(value))
        for (place, (_, shelf)), value in zip(taken, values, strict=True)
        if value is not None
    ]
    return Page(items, following)


def _times(
    rows: Rows, on: On, outcome: str, stretch: Stretch, behind: Position | None
) -> Iterator[tuple[Position, On]]:
    """One shelf's decisions in the order of time, behind a position."""
    key, shelf = on
    prefix = b"%b%b\x00%b\x00" % (TIME, key, outcome.encode())

    def place(row: bytes) -> Position:
        return (*when_and_who(row, len(prefix)), shelf.name, shelf.version)

    return ((found, on) for found, _ in _asked(rows, prefix, place, stretch, behind))


def _asked(
    rows: Rows, prefix: bytes, place: Callable[[bytes], Position], stretch: Stretch, behind: Position | None
) -> Iterator[tuple[Position, bytes]]:
    """Rows of one shelf in the order of time, as far as they are asked for: their places, and their values."""
    starts = [prefix]
    if stretch.from_us is not None:
        starts.append(prefix + time(stretch.from_us))
    if behind is not None:
        starts.append(prefix + time(behind[0]) + who(*behind[1:4]))
    for row, value in rows.scan(prefix, max(starts)):
        found = place(row)
        if stretch.to_us is not None and found[0] >= stretch.to_us:
            return
        if behind is None or found > behind:
            yield found, value


def _decision(shelf: Shelf, place: Position, known: Contribution) -> dict[str, Any]:
    occurred_us, tenant_id, workflow_id, decision_id, name, version = place
    item = {
        "template_id" if shelf.kind == TEMPLATE else "name": name,
        "tenant_id": tenant_id,
        "workflow_id": workflow_id,
        "decision_id": decision_id or None,
        "version": version or None,
        "first_used_at": rfc3339(occurred_us),
    }
    if shelf.kind != TEMPLATE:
        return item
    return {
        **item,
        "uses": known.uses,
        "status": known.status or None,
        "policy_outcomes": list(known.outcomes),
        "overridden": known.overridden,
        "feedback": {
            "count": known.feedbacks,
            "score": None if known.score is None else known.score / MILLIONTHS,
            "label": known.label,
        },
    }


def list_evaluations(
    rows: Rows, policy_id: str, version: str | None, outcome: str | None, rule_id: str | None, stretch: Stretch,
    after: Position | None, limit: int, scan_budget: int = 10_000,
) -> Page:  # fmt: skip
    """Evaluations of a policy, by (when, tenant, workflow, decision, event, variant, version, outcome).

    Raises TooBroad, InvalidPosition.
    """
    behind = None if after is None else checked(after, int, str, str, str, str, bytes, str, str)
    on = [(key, shelf) for key, shelf, _ in _shelves(rows, POLICY, policy_id, version)]
    outcomes = OUTCOMES if outcome is None else (outcome,)
    found = heapq.merge(*(_evaluations(rows, one, said, stretch, behind) for one in on for said in outcomes))
    items: list[dict[str, Any]] = []
    reached: Position | None = None
    for seen, (place, value) in enumerate(found):
        if len(items) >= limit or seen >= scan_budget:
            return Page(items, reached)
        reached, known = place, decode_place(value)
        if stretch.takes(place[1]) and (rule_id is None or known.detail[1] == rule_id):
            items.append(_evaluation(place, known))
    return Page(items, None)


def _evaluations(
    rows: Rows, on: On, outcome: str, stretch: Stretch, behind: Position | None
) -> Iterator[tuple[Position, bytes]]:
    key, shelf = on
    prefix = b"%b%b\x00%b\x00" % (EVALUATION, key, outcome.encode())

    def place(row: bytes) -> Position:
        name, _, event_id = row[: -VARIANT_BYTES - 1].rpartition(NUL)
        variant = row[-VARIANT_BYTES:]
        return (*when_and_who(name, len(prefix)), event_id.decode(), variant, shelf.version, outcome)

    return _asked(rows, prefix, place, stretch, behind)


def _evaluation(place: Position, known: Place) -> dict[str, Any]:
    occurred_us, tenant_id, workflow_id, decision_id, event_id, variant, version, outcome = place
    _, rule_id, enforced_action, reason_code = known.detail
    return {
        "tenant_id": tenant_id,
        "workflow_id": workflow_id,
        "decision_id": decision_id or None,
        "event_id": event_id,
        "variant": variant.hex(),
        "occurred_at": rfc3339(occurred_us),
        "policy_version": version or None,
        "outcome": outcome,
        "rule_id": rule_id,
        "enforced_action": enforced_action,
        "reason_code": reason_code,
        "position": {"topic": known.topic, "partition": known.partition, "offset": known.offset, "index": known.index},
    }
