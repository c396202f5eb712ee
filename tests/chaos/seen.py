"""Timelines as they are found somewhere, in one shape: in an oracle, in a changelog, in a worker's views."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from replayer.core.head import decode_head, described
from replayer.core.rows import EVENT, HEAD, NUL, decode_event

Name = tuple[str, str]
"""Tenant and workflow."""

At = tuple[str, int, int]
"""Topic, partition, offset."""

#: Between two topics nobody knows an order, so neither does a head when its last event was committed; what it has
#: applied is where folding stood, and gaps are told with a workflow by the views alone.
_BY_ARRIVAL = ("last_commit_ts", "applied", "gaps")


@dataclass(frozen=True, slots=True)
class Seen:
    """A workflow: its head as it is served, and its events (id, variant, position) in the order of the timeline."""

    head: Mapping[str, Any]
    events: tuple[tuple[str, str, At], ...]


def comparable(head: Mapping[str, Any]) -> dict[str, Any]:
    """A head without what depends on how its topics arrived side by side."""
    return {name: value for name, value in head.items() if name not in _BY_ARRIVAL}


def from_rows(rows: Mapping[bytes, bytes]) -> dict[Name, Seen]:
    """All partitions' rows of the timelines table together."""
    heads = {key: value for key, value in rows.items() if key.startswith(HEAD)}
    events: defaultdict[Name, list[tuple[str, str, At]]] = defaultdict(list)
    for key in sorted(key for key in rows if key.startswith(EVENT)):
        tenant, workflow, _ = key[1:].split(NUL, 2)
        row = decode_event(tenant + NUL + workflow + NUL, key, rows[key])
        at = (row.topic, row.partition, row.offset)
        events[tenant.decode(), workflow.decode()].append((row.event_id, row.variant.hex(), at))
    seen = {}
    for value in heads.values():
        head = described(decode_head(value))
        name = (head["tenant_id"], head["workflow_id"])
        seen[name] = Seen(comparable(head), tuple(events.pop(name, ())))
    seen |= {name: Seen({}, tuple(found)) for name, found in events.items()}
    return seen


def inconsistencies(rows: Mapping[bytes, bytes]) -> list[str]:
    """Where a head says something else than the event rows of its workflow."""
    shares: defaultdict[Name, int] = defaultdict(int)
    counts: defaultdict[Name, Counter[str]] = defaultdict(Counter)
    for key, value in rows.items():
        if key.startswith(EVENT):
            tenant, workflow, _ = key[1:].split(NUL, 2)
            row = decode_event(tenant + NUL + workflow + NUL, key, value)
            name = (tenant.decode(), workflow.decode())
            shares[name] += int.from_bytes(hashlib.sha256(row.projection).digest(), "big")
            counts[name][orjson.loads(row.projection)["event_type"]] += 1
    wrong = []
    for key, value in rows.items():
        if key.startswith(HEAD):
            head = decode_head(value)
            name = (head.tenant_id, head.workflow_id)
            said, found = (head.events, dict(head.counts)), (counts[name].total(), dict(counts[name]))
            if said != found:
                wrong.append(f"head of {name} counts {said}, its rows are {found}")
            if head.digest != (shares[name] % 2**256).to_bytes(32, "big"):
                wrong.append(f"head of {name} has a digest that is not its rows'")
            counts.pop(name)
    wrong += [f"{name} has {found.total()} event rows and no head" for name, found in counts.items()]
    return wrong
