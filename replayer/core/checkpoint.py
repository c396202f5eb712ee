"""Where a replay can be taken up again: committed offsets of its group, with the sums up to them in their metadata.

The group's commit is the one source of truth. It is written in the transaction that writes the results and the
progress record, so it can be neither ahead of them nor behind. The investigator's table lags (it is folded from the
progress topic), and a progress record is found only by searching its topic for the last one; the group is asked
once, by name, and answers with exactly what its last transaction committed.

Two kinds of entries: one for each partition being read (offset: the position; metadata: `Stretch.encode`), and the
anchor on the progress topic's partition of this replay (offset: behind its last progress record; metadata: `Anchor`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Self

import orjson

from replayer.core.stretch import Stretch, coverage
from topics.fields import EPOCH
from topics.progress import ReplayProgress, ResultsLocation, State
from topics.results import TerminalRecord, add_digests, digest_hex

_FORMAT: Final = 1

Committed = Mapping[tuple[str, int], tuple[int, str]]
"""What a group has committed: (topic, partition) -> (offset, metadata)."""


class LostCheckpoint(Exception):
    """A replay has made progress and its group does not hold the checkpoint any more, or not whole."""

    def __init__(self, replay_id: str) -> None:
        super().__init__(
            f"The checkpoint of replay {replay_id} is gone or damaged: its consumer group was deleted, or its offsets "
            "expired (offsets.retention.minutes) while it stood still. Start a new replay."
        )


@dataclass(frozen=True, slots=True)
class Anchor:
    """What a replay's transactions agree on beside the partitions. `version` 0: nothing has been written yet.

    `results`: offsets [first, end) that hold its results, None before the first. `stretches`: how many there must be.
    """

    version: int
    state: State
    started_us: int
    results: tuple[int, int] | None = None
    stretches: int = 0

    def encode(self) -> str:
        said = [_FORMAT, self.version, self.state.value, self.started_us, self.results, self.stretches]
        return orjson.dumps(said).decode()

    @classmethod
    def decode(cls, said: str) -> Self:
        """What `encode` wrote. Raises ValueError for anything else."""
        form, version, state, started_us, results, stretches = orjson.loads(said)
        if form != _FORMAT:
            raise ValueError(f"a checkpoint of format {form}; this version reads {_FORMAT}")
        return cls(version, State(state), started_us, (results[0], results[1]) if results else None, stretches)

    def next(self, state: State, wrote: tuple[int, int] | None) -> Self:
        """The anchor of the next transaction, which moves the replay to `state`, its results at offsets `wrote`."""
        results = self.results
        if wrote is not None:
            results = (results[0] if results else wrote[0], wrote[1])
        return replace(self, version=self.version + 1, state=state, results=results)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A replay as its last transaction left it. No stretches: its ranges have not been resolved yet."""

    anchor: Anchor
    stretches: tuple[Stretch, ...] = ()

    @property
    def matched(self) -> int:
        return sum(stretch.matched for stretch in self.stretches)

    @property
    def digest(self) -> str:
        return digest_hex(add_digests(*(stretch.digest for stretch in self.stretches)))


def read_checkpoint(
    replay_id: str, at: tuple[str, int], committed: Committed, folded_version: int
) -> Checkpoint | None:
    """The checkpoint in what a group has committed; None where the replay has never been run.

    `at`: topic and partition of the anchor. `folded_version`: of the newest progress seen in the table; it may lag, but
    where it is above 0 there must be a checkpoint. Raises LostCheckpoint.
    """
    held = committed.get(at)
    if held is None:
        if folded_version or committed:
            raise LostCheckpoint(replay_id)
        return None
    try:
        anchor = Anchor.decode(held[1])
        stretches = tuple(
            Stretch.decode(topic, partition, offset, said)
            for (topic, partition), (offset, said) in sorted(committed.items())
            if (topic, partition) != at
        )
    except (ValueError, TypeError, KeyError) as damaged:
        raise LostCheckpoint(replay_id) from damaged
    if len(stretches) != anchor.stretches or anchor.version < folded_version:
        raise LostCheckpoint(replay_id)
    return Checkpoint(anchor, stretches)


def progress(
    replay_id: str, checkpoint: Checkpoint, results: tuple[str, int], error: str | None, now_us: int
) -> ReplayProgress:
    """The progress record of the transaction that commits this checkpoint. `results`: their topic and partition."""
    anchor, stretches = checkpoint.anchor, checkpoint.stretches
    where = None
    if anchor.results is not None:
        where = ResultsLocation(
            topic=results[0], partition=results[1], first_offset=anchor.results[0], end_offset=anchor.results[1]
        )
    return ReplayProgress(
        replay_id=replay_id,
        version=anchor.version,
        state=anchor.state,
        read=sum(stretch.read for stretch in stretches),
        matched=checkpoint.matched,
        undecodable=sum(stretch.undecodable for stretch in stretches),
        total=sum(stretch.end - stretch.start for stretch in stretches),
        digest=checkpoint.digest,
        coverage=coverage(stretches) if stretches else None,
        results=where,
        error=error,
        started_at=_instant(anchor.started_us),
        updated_at=_instant(now_us),
        ended_at=_instant(now_us) if anchor.state.final else None,
    )


def terminal(replay_id: str, checkpoint: Checkpoint, state: State, error: str | None, now_us: int) -> TerminalRecord:
    """The record that ends the results of a replay which now goes to `state`."""
    return TerminalRecord(
        replay_id=replay_id,
        state=state,
        count=checkpoint.matched,
        digest=checkpoint.digest,
        coverage=coverage(checkpoint.stretches) if checkpoint.stretches else None,
        error=error,
        ended_at=_instant(now_us),
    )


def _instant(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)
