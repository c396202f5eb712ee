"""Runs one replay to its end: takes it up from its checkpoint, reads, writes, and ends it with a terminal record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from enum import Enum

import structlog
from aiokafka.errors import ProducerFenced

from replayer.core.checkpoint import Anchor, Checkpoint, LostCheckpoint
from replayer.core.pace import Pace
from replayer.core.replays import OpenReplay
from replayer.core.selection import selection
from replayer.core.stretch import TooManyGaps
from replayer.investigate.config import InvestigateConfig
from replayer.investigate.errors import INTERRUPTIONS, Refused, passing, sentence
from replayer.investigate.ledger import Ledger
from replayer.investigate.ranges import snapshot
from replayer.investigate.scan import Scan
from topics.progress import State

log = structlog.get_logger(__name__)

_PATIENCE_S = 0.2
_FINDINGS = (Refused, LostCheckpoint, TooManyGaps)


class Ending(Enum):
    """How `Investigation.run` came back."""

    ENDED = "ended"  # its last record is in the log, whoever wrote it
    FENCED = "fenced"  # another process has taken it over


class Investigation:
    """One replay, in a consumer group, a producer and a client id of its own.

    `run` may be cancelled or killed at any instant: whoever runs the same replay next takes it up from its last
    transaction, without a result twice or a hole.
    """

    def __init__(self, config: InvestigateConfig, replay: OpenReplay) -> None:
        if replay.command.spec is None:
            raise ValueError("a replay is started by a command with a spec")
        self._config, self.replay_id, self._folded_version = config, replay.replay_id, replay.version
        self._spec = replay.command.spec
        self._cancelled = asyncio.Event()
        self._failures = 0
        self._failed: str | None = None
        if replay.cancelled:
            self._cancelled.set()

    def cancel(self) -> None:
        """Somebody wants it to end as CANCELLED: the results so far stay, and are ended properly."""
        self._cancelled.set()

    async def run(self) -> Ending:
        """Return when the replay has ended, or another process runs it.

        What passes by itself (brokers away, elections, time-outs) is waited for, however long; what does not fails the
        replay with a sentence. So does, after `most_failures` attempts, what is neither: a fault of this program.
        """
        while True:
            try:
                async with Ledger(self._config, self.replay_id) as ledger:
                    await self._attempt(ledger)
                return Ending.ENDED
            except ProducerFenced:
                log.info("another investigator runs this replay", replay_id=self.replay_id)
                return Ending.FENCED
            except Exception as error:
                self._failures += 1
                if _unexpected(error):
                    log.error("a replay raised an error it should not", replay_id=self.replay_id, exc_info=error)
                wait = min(self._config.backoff_s * 2 ** min(self._failures, 16), self._config.longest_backoff_s)
                log.warning(
                    "a replay was interrupted",
                    replay_id=self.replay_id,
                    error=type(error).__name__,
                    failed=self._failed,
                    attempt=self._failures,
                    wait_s=wait,
                )
                await asyncio.sleep(wait)

    async def _attempt(self, ledger: Ledger) -> None:
        """From the checkpoint to the end. A replay that failed for good is ended by the attempt after, on new books."""
        try:
            found = await ledger.checkpoint(self._folded_version)
        except LostCheckpoint as lost:
            self._failed, found = str(lost), None
        if found is not None and found.anchor.state.final:
            return
        at = found or Checkpoint(Anchor(self._folded_version, State.RUNNING, time.time_ns() // 1000))
        if self._failed is not None:
            await self._end(ledger, at, State.FAILED, error=self._failed)
            return
        try:
            if self._cancelled.is_set():
                await self._end(ledger, at, State.CANCELLED)
            else:
                await self._scan(ledger, found or await self._plan(ledger, at))
        except ProducerFenced:
            raise
        except Exception as error:
            self._failed = self._for_good(error)
            raise

    async def _plan(self, ledger: Ledger, at: Checkpoint) -> Checkpoint:
        """The ends are snapshotted once and committed before anything is read: a restart must not move them."""
        stretches = await snapshot(self._config, self._spec.range, selection(self._spec))
        planned = await ledger.write(Checkpoint(at.anchor, tuple(stretches)), State.RUNNING)
        offsets = sum(part.end - part.start for part in stretches)
        log.info("a replay starts", replay_id=self.replay_id, partitions=len(stretches), offsets=offsets)
        return planned

    async def _scan(self, ledger: Ledger, at: Checkpoint) -> None:
        config, pace = self._config, Pace(self._spec.records_per_second)
        chunk = pace.chunk(min(config.fetch_records, config.commit_records))
        stretches = tuple(replace(part, gaps=list(part.gaps)) for part in at.stretches)
        scan = Scan(config, self.replay_id, selection(self._spec), stretches, at.matched, chunk)
        unsaved, moved, saved_at = 0, False, time.monotonic()
        async with aclosing(scan.batches(_PATIENCE_S)) as batches:
            async for batch in batches:
                if self._cancelled.is_set():
                    break
                count = len(batch.records) if batch is not None else 0
                unsaved, moved = unsaved + count, moved or batch is not None
                late = moved and time.monotonic() - saved_at >= config.commit_interval_s
                full = unsaved + chunk > config.commit_records  # what comes next might be too much
                if late or full or scan.result_bytes >= config.commit_bytes:
                    at = await ledger.write(Checkpoint(at.anchor, stretches), State.RUNNING, scan.take_results())
                    unsaved, moved, saved_at, self._failures = 0, False, time.monotonic(), 0
                await self._rest(pace.wait(count, time.monotonic()))
        state = State.COMPLETED if all(part.done for part in stretches) else State.CANCELLED
        await self._end(ledger, Checkpoint(at.anchor, stretches), state, scan.take_results())

    async def _end(
        self,
        ledger: Ledger,
        at: Checkpoint,
        state: State,
        results: Sequence[bytes] = (),
        *,
        error: str | None = None,
    ) -> None:
        end = await ledger.write(at, state, results, error=error)
        log.info(
            "a replay has ended", replay_id=self.replay_id, state=state.value, results=end.matched, digest=end.digest
        )

    async def _rest(self, seconds: float) -> None:
        """Give way to others on this loop, and keep to the rate; a cancel cuts it short."""
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                await self._cancelled.wait()
        except TimeoutError:
            pass

    def _for_good(self, error: BaseException) -> str | None:
        said = sentence(error)
        if (
            said is None
            and (_unexpected(error) or not passing(error))
            and self._failures + 1 >= self._config.most_failures
        ):
            return f"It failed {self._failures + 1} times in a row, the last time with {type(error).__name__}."
        return said


def _unexpected(error: BaseException) -> bool:
    return not isinstance(error, (*_FINDINGS, *INTERRUPTIONS))
