"""Before it is measured: the Kafka Streams peer refuses, counts and digests what the product does.

Both fold the same events in memory: the workload, each event twice, other content under a known id, and events that
break a rule each. A peer that does less than it says would be compared with for nothing.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.contenders.kafka_streams import compiled
from benchmarks.contenders.reducers import Kept, SourceRecord, lean, reducer
from benchmarks.profile_fold import MemoryRows
from benchmarks.workload import SIZES, workload
from replayer.core.head import decode_head
from replayer.core.rows import DECISION, EVENT, HEAD, IDENTITY
from topics.codec import Undecodable, decode, read

_KINDS = {"heads": HEAD, "events": EVENT, "identities": IDENTITY, "decisions": DECISION}


class PeerDiffers(Exception):
    """A peer does not do the product's work; the text says in what."""


@dataclass(frozen=True, slots=True)
class Made:
    """What came of some events: lines refused, rows by kind, and by workflow its events, duplicates, conflicts, late
    events and digest.
    """

    refused: list[int]
    rows: dict[str, int]
    heads: dict[str, list[Any]]


def lines() -> list[bytes]:
    """Events, one a line, in their canonical form (the peer digests what it is given); the last ones are none."""
    told = [_canonical(value) for size in SIZES for _, value in workload(size, 300, active=10, per_workflow=10)]
    conflicting = [value.replace(b'"source":"pg"', b'"source":"other"') for value in told[:7]]
    late = [told[0].replace(b"e0000000000", b"e-late-0000"), told[-1].replace(b"e0000000299", b"e-late-0001")]
    return [*told, *told[:50], *conflicting, *conflicting[:3], *late, *broken(told[0], told[-1])]


def _canonical(value: bytes) -> bytes:
    found = read(value)
    if isinstance(found, Undecodable):
        raise PeerDiffers(f"the workload holds no event: {found.detail}")
    return found[1]


def broken(invocation: bytes, policy: bytes) -> list[bytes]:
    """One event for each rule, none of which the product takes."""

    def without(value: bytes, *path: str) -> bytes:
        return _changed(value, path, None, remove=True)

    def having(value: bytes, new: Any, *path: str) -> bytes:
        return _changed(value, path, new)

    return [
        b"",
        b"no JSON",
        b"[]",
        invocation[:-1],
        invocation + b"{}",
        invocation.replace(b'"source":"pg"', b'"source":"pg","source":"pg"'),
        *(without(invocation, name) for name in ("event_id", "event_type", "schema_version", "workflow_id")),
        *(without(invocation, name) for name in ("occurred_at", "tenant_id", "source", "agent_id", "data")),
        having(invocation, "nobody.knows", "event_type"),
        having(invocation, "", "event_id"),
        having(invocation, "a\0b", "event_id"),
        having(invocation, "x" * 129, "tenant_id"),
        having(invocation, 7, "workflow_id"),
        having(invocation, "yesterday", "occurred_at"),
        having(invocation, "g" * 32, "trace_id"),
        having(invocation, "a" * 15, "span_id"),
        having(invocation, 0, "schema_version"),
        having(invocation, "1", "schema_version"),
        without(invocation, "data", "provider"),
        without(invocation, "data", "tokens", "input"),
        without(invocation, "data", "prompt_template", "version"),
        having(invocation, "C" * 64, "data", "prompt_template", "sha256"),
        having(invocation, -1, "data", "latency_ms"),
        having(invocation, 1.5, "data", "latency_ms"),
        having(invocation, 2**53, "data", "tokens", "output"),
        having(invocation, "lightning", "data", "latency_band"),
        having(invocation, {}, "data", "features"),
        having(invocation, [{"name": "n"}], "data", "features"),
        having(invocation, "0.2", "data", "temperature"),
        having(policy, "modify", "data", "outcome"),
        without(policy, "data", "outcome"),
        without(policy, "data", "policy_id"),
        having(policy, 1, "data", "rule_id"),
    ]


def _changed(value: bytes, path: Sequence[str], new: Any, remove: bool = False) -> bytes:
    event = json.loads(value)
    place = event
    for name in path[:-1]:
        place = place[name]
    if remove:
        del place[path[-1]]
    else:
        place[path[-1]] = new
    return json.dumps(event, separators=(",", ":")).encode()


def ours(told: Sequence[bytes], kept: Kept) -> Made:
    """What the product's reducers make of them, as Check.java says it."""
    refused, rows, reduce = [], MemoryRows(), lean if kept == "lean" else reducer("all")
    for number, value in enumerate(told):
        if isinstance(decode(value), Undecodable):
            refused.append(number)
            continue
        rows.write(list(reduce(rows, SourceRecord("topic", 0, number, 1000 + number, b"", value))))
    heads = {}
    for key, value in rows.stored.items():
        if key.startswith(HEAD):
            head = decode_head(value)
            name = f"{head.tenant_id}/{head.workflow_id}"
            heads[name] = [head.events, head.duplicates, head.conflicts, head.late, head.digest.hex()]
    kinds = ("heads", "events") if kept == "lean" else tuple(_KINDS)
    counted = {kind: sum(1 for key in rows.stored if key.startswith(_KINDS[kind])) for kind in kinds}
    return Made(refused, counted, heads)


def differences(wanted: Made, said: Mapping[str, Any], kept: Kept) -> list[str]:
    """A line for each thing the peer made otherwise. Lean counts neither duplicates nor conflicts nor late events."""
    told = asdict(wanted)
    found = [
        f"{name}: {said.get(name)}, not {told[name]}" for name in ("refused", "rows") if said.get(name) != told[name]
    ]
    heads = said.get("heads", {})
    for name in sorted(wanted.heads.keys() | heads.keys()):
        one, other = wanted.heads.get(name), heads.get(name)
        if kept == "lean" and one and other:
            one, other = [one[0], one[-1]], [other[0], other[-1]]
        if one != other:
            found.append(f"head {name}: {other}, not {one}")
    return found


def check() -> None:
    """Compile the peer and compare. Raises PeerDiffers, SystemExit without a JDK, CalledProcessError."""
    told = lines()
    with tempfile.TemporaryDirectory(prefix="bench-streams-check-") as directory:
        peer = compiled(Path(directory) / "classes")
        for kept in ("all", "lean"):
            wanted = ours(told, kept)
            done = subprocess.run(
                peer.command("Check", kept),
                input=b"".join(line + b"\n" for line in told),
                capture_output=True,
                check=True,
            )
            if found := differences(wanted, json.loads(done.stdout), kept):
                raise PeerDiffers(f"Kafka Streams ({kept}) does not do the same work:\n" + "\n".join(found[:20]))
