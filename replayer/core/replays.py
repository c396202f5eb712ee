"""The table of replays: folded alike by the investigator (to act on) and by the worker (to show).

| key | value |
|---|---|
| `r` replay_id | format byte, the replay (`core.replay`) as JSON |
| `o` replay_id | format byte; there only while an investigator has something to do for it |

Nothing is sent on accepting a command: the row is the acknowledgement, durable in the changelog with the command's
position, and both roles fold the command topic, so both show PLANNED at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from replayer.core import replay as machine
from replayer.core.deadletters import dead_letter
from replayer.core.errors import DamagedRow
from replayer.core.outcome import Folded, Folding, Record, Rows, whole
from replayer.core.replay import Outcome, Replay, Step
from replayer.core.rows import FORMAT_BYTE, opened
from topics import deadletter
from topics.catalogue import DEFAULT_MAX_RECORD_BYTES, REPLAY_COMMANDS, REPLAY_PROGRESS
from topics.codec import Undecodable
from topics.commands import ReplayCommand, decode_command
from topics.document import encode_document
from topics.progress import ReplayProgress, decode_progress

REPLAY: Final = b"r"
OPEN: Final = b"o"


def replay_key(replay_id: str) -> bytes:
    return REPLAY + replay_id.encode()


def encode_replay(replay: Replay) -> bytes:
    return FORMAT_BYTE + encode_document(replay)


def decode_replay(value: bytes) -> Replay:
    """Raises UnknownRowFormat, DamagedRow."""
    try:
        return Replay.model_validate_json(opened("replay", value))
    except ValidationError as damaged:
        raise DamagedRow("replay") from damaged


@dataclass(slots=True)
class _Batch:
    """The rows a batch touches, and what has to be written of them."""

    rows: Rows
    replays: dict[str, Replay | None] = field(default_factory=dict)
    changed: dict[str, bytes] = field(default_factory=dict)
    was_open: dict[str, bool] = field(default_factory=dict)

    def get(self, replay_id: str) -> Replay | None:
        if replay_id not in self.replays:
            value = self.rows.get(replay_key(replay_id))
            replay = decode_replay(value) if value is not None else None
            self.replays[replay_id] = replay
            self.was_open[replay_id] = replay is not None and replay.open
        return self.replays[replay_id]

    def put(self, replay: Replay, value: bytes) -> None:
        self.replays[replay.replay_id] = replay
        self.changed[replay.replay_id] = value

    def written(self) -> list[tuple[bytes, bytes | None]]:
        rows: list[tuple[bytes, bytes | None]] = []
        for replay_id, value in self.changed.items():
            rows.append((replay_key(replay_id), value))
            replay = self.replays[replay_id]
            if replay is not None and replay.open != self.was_open[replay_id]:
                rows.append((OPEN + replay_id.encode(), FORMAT_BYTE if replay.open else None))
        return rows


class ReplaysFold:
    """Commands and progress into rows; what is neither becomes a dead letter. Pure: see core.outcome.

    Args:
        partition_of: the partition a key belongs to (murmur2), to tell a record that was put elsewhere.
        max_record_bytes: of a dead letter: a larger value stays in its topic.
        max_row_bytes: a record that would make a larger row is a dead letter.
    """

    def __init__(
        self,
        *,
        partition_of: Callable[[bytes], int],
        max_record_bytes: int = DEFAULT_MAX_RECORD_BYTES,
        max_row_bytes: int = DEFAULT_MAX_RECORD_BYTES,
        commands_topic: str = REPLAY_COMMANDS.name,
        progress_topic: str = REPLAY_PROGRESS.name,
    ) -> None:
        self._partition_of = partition_of
        self._max_record_bytes, self._max_row_bytes = max_record_bytes, max_row_bytes
        self._decoders: dict[str, Callable[[bytes | None], ReplayCommand | ReplayProgress | Undecodable]] = {
            commands_topic: decode_command,
            progress_topic: decode_progress,
        }

    def folding(self, rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folding:
        batch, folded = _Batch(rows), Folded()
        for record in records:
            refused = self._fold_one(batch, record, partition, folded.counts)
            if refused is not None:
                folded.sends.append(
                    dead_letter(
                        record, refused.reason, refused.error_class, refused.detail,
                        max_bytes=self._max_record_bytes, now_ms=now_ms,
                    )
                )  # fmt: skip
                _count(folded.counts, "dead_letter")
            yield
        folded.rows = batch.written()
        return folded

    def fold(self, rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folded:
        """`folding` without pauses."""
        return whole(self.folding(rows, records, partition, now_ms))

    def _fold_one(self, batch: _Batch, record: Record, partition: int, counts: dict[str, int]) -> Undecodable | None:
        said = self._decoders[record.topic](record.value)
        if isinstance(said, Undecodable):
            return said
        key = said.replay_id.encode()
        if self._partition_of(key) != partition:
            return Undecodable(deadletter.MISROUTED, "Misrouted", "the partition is not the one of replay_id")
        if record.key != key:
            return Undecodable(deadletter.INVALID, "KeyMismatch", "the record's key is not its replay_id")
        step = _step(batch.get(said.replay_id), said)
        if step.outcome is Outcome.UNKNOWN_ACTION:
            return Undecodable(deadletter.INVALID, "UnknownAction", "action: this version does not know it")
        if step.replay is not None and step.replay is not batch.get(said.replay_id):
            value = encode_replay(step.replay)
            if len(value) > self._max_row_bytes:
                return Undecodable(
                    deadletter.OVERSIZED, "RowTooLarge", f"the replay's row would exceed {self._max_row_bytes} bytes"
                )
            batch.put(step.replay, value)
        _count(counts, step.outcome.value)
        return None


def _step(replay: Replay | None, said: ReplayCommand | ReplayProgress) -> Step:
    if isinstance(said, ReplayCommand):
        return machine.command(replay, said)
    return machine.progress(replay, said)


def _count(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


@dataclass(frozen=True, slots=True)
class OpenReplay:
    """What an investigator needs to run a replay, or to take it up again.

    `version` is of the last progress folded: 0 before the first. The log may be ahead of it, never behind.
    """

    command: ReplayCommand
    cancelled: bool
    version: int

    @property
    def replay_id(self) -> str:
        return self.command.replay_id


def open_replays(rows: Rows) -> list[OpenReplay]:
    """The replays of one partition that have been asked for and have not ended, by id."""
    found = []
    for key in [key for key, _ in rows.scan(OPEN)]:
        value = rows.get(REPLAY + key[len(OPEN) :])
        replay = decode_replay(value) if value is not None else None
        if replay is not None and replay.command is not None and replay.open:
            version = replay.progress.version if replay.progress is not None else 0
            found.append(OpenReplay(replay.command, replay.cancel is not None, version))
    return found


def find(rows: Rows, replay_id: str) -> Replay | None:
    """The replay, or None where nobody has started one under this id."""
    value = rows.get(replay_key(replay_id))
    replay = decode_replay(value) if value is not None else None
    return replay if replay is not None and replay.known else None


def read(rows: Rows, replay_id: str) -> dict[str, Any] | None:
    """The replay as it is served (JSON-ready), or None where nobody has started one under this id.

    `state`, `cancelling`, then who asked for what (`name`, `purpose`, `requester`, `requested_at`, `spec`; null where
    only progress has been seen so far), the fields of the last progress (`read`, `matched`, `undecodable`, `total`,
    `digest`, `coverage`, `results`, `error`, `version`, `started_at`, `updated_at`, `ended_at`), `cancel`, `refused`.
    """
    replay = find(rows, replay_id)
    if replay is None:
        return None
    whole = replay.model_dump(mode="json")
    command, progress = whole["command"] or {}, whole["progress"] or {}
    spec = command.get("spec") or {}
    shown: dict[str, Any] = {"replay_id": replay_id, "state": replay.state.value, "cancelling": replay.cancelling}
    shown |= {name: spec.get(name) for name in ("name", "purpose")}
    shown |= {name: command.get(name) for name in ("requester", "requested_at", "spec")}
    shown |= {name: progress.get(name, 0) for name in _COUNTS}
    shown |= {name: progress.get(name) for name in _FACTS}
    return shown | {name: whole[name] for name in ("cancel", "refused", "refused_more")}


_COUNTS = ("version", "read", "matched", "undecodable", "total")
_FACTS = ("digest", "coverage", "results", "error", "started_at", "updated_at", "ended_at")
