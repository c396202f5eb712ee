"""Recipes of bad records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count

from replayer.core.faults import POISONS, Emission, Faults
from tests.chaos.mutants import raising
from tests.chaos.promise import promised
from tests.chaos.recipes import processes
from tests.chaos.trial import Recipe
from tests.chaos.workload import Workload
from topics.catalogue import DEFAULT_MAX_RECORD_BYTES
from topics.deadletter import INVALID, OVERSIZED, UNDECODABLE
from topics.deadletter import POISON as FOLD_RAISED

_EVERY = 50
_LARGEST = DEFAULT_MAX_RECORD_BYTES


def _sized(size: int) -> Callable[[bytes], bytes]:
    """The event padded with white space, which JSON allows, to exactly so many bytes."""
    return lambda value: value + b" " * (size - len(value))


def _twice(value: bytes) -> bytes:
    return value[:-1] + b',"event_id":"again"}'


def _inside(odd: bytes) -> Callable[[bytes], bytes]:
    """Bytes that are no UTF-8, within a string."""
    return lambda value: value.replace(b'"source":"', b'"source":"' + odd, 1)


def _raising(value: bytes) -> bytes:
    return value.replace(b'"source":"', b'"source":"' + raising.SIGN, 1)


#: Why each of POISONS, in its order, is none.
_REASONS = (UNDECODABLE,) * 8 + (INVALID, UNDECODABLE) + (INVALID,) * 6
#: What becomes of an event, and why it is buried then; None: it is one still.
KINDS: tuple[tuple[Callable[[bytes], bytes | None], str | None], ...] = (
    *zip(POISONS, _REASONS, strict=True),
    (_twice, INVALID),
    (_inside(b"\xff"), UNDECODABLE),
    (_inside(b"\xc0\xaf"), UNDECODABLE),  # longer than it need be
    (_inside(b"\xed\xa0\x80"), UNDECODABLE),  # half of a surrogate pair
    (_inside(b"\\ud800"), UNDECODABLE),  # the same, escaped
    (_sized(_LARGEST + 1), OVERSIZED),
    (_sized(_LARGEST), None),
    (_sized(_LARGEST - 1), None),
    (_raising, FOLD_RAISED),
)


@dataclass(frozen=True, slots=True)
class Poisoned(Workload):
    """Every fiftieth record is bad, or about to be: all kinds in turn."""

    def emissions(self) -> Iterator[Emission]:
        kinds = count()
        for number, emission in enumerate(super(Poisoned, self).emissions()):
            if number % _EVERY or emission.kind != "event" or emission.value is None:
                yield emission
                continue
            make, reason = KINDS[next(kinds) % len(KINDS)]
            value = make(emission.value)
            if reason in (None, FOLD_RAISED):
                yield replace(emission, value=value)
            else:
                yield replace(emission, value=value, kind="poison", event_id=None, workflow_id=None, tenant_id=None)


POISON = Recipe(
    "poison",
    processes.kill,
    promised("each bad record is buried for its reason, and the next offset is processed"),
    workload=Poisoned,
    module="tests.chaos.mutants.raising",
    raises=raising.raises,
    buries=lambda emission: emission.kind == "poison" or raising.raises(emission.value),
)
DISORDER = Recipe(
    "duplicates, disorder, clock skew, conflicts",
    processes.kill,
    promised("an id with two contents stands twice, whatever comes when"),
    workload=lambda seed: Workload(
        seed,
        faults=Faults(duplicates=0.2, conflicts=0.02, disorder=0.9, reach=2_000),
        spread=timedelta(hours=24),
    ),
)
