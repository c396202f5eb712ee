"""Keys and values of the `templates` table. Every value starts with a format version byte.

WHO is tenant NUL workflow NUL decision, WHEN the eight bytes of an instant (as `core.rows` has them).

| key | value |
|---|---|
| `h` shelf | head (`core.shelf_head`): what all uses on the shelf come to |
| `u` shelf NUL WHO NUL WHEN event_id NUL variant(8) | a use of a template: where it lies |
| `v` shelf NUL outcome NUL WHEN WHO NUL event_id NUL variant(8) | an evaluation of a policy: where it lies |
| `w` shelf NUL tenant NUL workflow | nothing: the workflow is on the shelf |
| `t` shelf NUL outcome NUL WHEN WHO | nothing: the decision, by time of its first use |
| `c` shelf NUL WHO | contribution: what the decision has come to |

In a step they are written in this order, heads first, contributions last: where the changelog has them up to any cut,
folding the step again completes it and counts nothing twice (`core.index`).

`t` has a row without outcome for each decision, and one for each outcome its policies had.
"""

from __future__ import annotations

import struct

import msgspec

from replayer.core.errors import DamagedRow
from replayer.core.rows import FORMAT_BYTE, NUL, decoded, instant, time
from topics.usage import Detail

HEAD, USE, EVALUATION, WORKFLOW, TIME, CONTRIBUTION = b"h", b"u", b"v", b"w", b"t", b"c"
ORDER = (HEAD, USE, EVALUATION, WORKFLOW, TIME, CONTRIBUTION)
NOTHING = FORMAT_BYTE


class Place(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Where a use or an evaluation lies in its log, what is kept of it, which record of the usage brought it first."""

    topic: str
    partition: int
    offset: int
    index: int
    detail: Detail
    brought: int


class Contribution(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a decision has come to, as far as the shelf knows. `version` 0: nothing was said of it yet.

    `uses` 0: it has not used the thing, and counts for nothing. `score`: of the latest feedback, in millionths.
    `applied`: the offset behind the last record of the usage that is in it.
    """

    applied: int = 0
    uses: int = 0
    first_us: int = 0
    version: int = 0
    status: str = ""
    overridden: bool = False
    outcomes: tuple[str, ...] = ()
    feedbacks: int = 0
    score: int | None = None
    label: str | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode_place = msgspec.msgpack.Decoder(Place).decode
_decode_contribution = msgspec.msgpack.Decoder(Contribution).decode


def encode_place(place: Place) -> bytes:
    return FORMAT_BYTE + _encode(place)


def decode_place(value: bytes) -> Place:
    """Raises UnknownRowFormat, DamagedRow."""
    return decoded("use", value, _decode_place)


def encode_contribution(contribution: Contribution) -> bytes:
    return FORMAT_BYTE + _encode(contribution)


def decode_contribution(value: bytes) -> Contribution:
    """Raises UnknownRowFormat, DamagedRow."""
    return decoded("contribution", value, _decode_contribution)


def who(tenant_id: str, workflow_id: str, decision_id: str) -> bytes:
    """A decision within a shelf."""
    return b"%b\x00%b\x00%b" % (tenant_id.encode(), workflow_id.encode(), decision_id.encode())


def head_key(shelf: bytes) -> bytes:
    return HEAD + shelf


def use_key(shelf: bytes, who: bytes, occurred_us: int, event_id: str, variant: bytes) -> bytes:
    return b"%b%b\x00%b\x00%b%b\x00%b" % (USE, shelf, who, time(occurred_us), event_id.encode(), variant)


def evaluation_key(shelf: bytes, outcome: str, occurred_us: int, who: bytes, event_id: str, variant: bytes) -> bytes:
    return b"%b\x00%b\x00%b" % (time_key(shelf, outcome, occurred_us, who, EVALUATION), event_id.encode(), variant)


def workflow_key(shelf: bytes, who: bytes) -> bytes:
    return b"%b%b\x00%b" % (WORKFLOW, shelf, who[: who.rindex(NUL)])


def time_key(shelf: bytes, outcome: str, occurred_us: int, who: bytes, kind: bytes = TIME) -> bytes:
    return b"%b%b\x00%b\x00%b%b" % (kind, shelf, outcome.encode(), time(occurred_us), who)


def contribution_key(shelf: bytes, who: bytes) -> bytes:
    return b"%b%b\x00%b" % (CONTRIBUTION, shelf, who)


def when_and_who(key: bytes, at: int) -> tuple[int, str, str, str]:
    """The instant and the decision at this place of a key of `t`. Raises DamagedRow."""
    try:
        tenant_id, workflow_id, decision_id = key[at + 8 :].decode().split("\0")
        return instant(key, at), tenant_id, workflow_id, decision_id
    except (struct.error, ValueError) as damaged:  # UnicodeDecodeError is one
        raise DamagedRow("index") from damaged
