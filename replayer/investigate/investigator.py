"""All replays of one process: what runs is kept equal to what the rows want, within the limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog
from aiokafka.errors import KafkaError

from replayer.core.outcome import Rows
from replayer.core.replays import OpenReplay, find, open_replays
from replayer.investigate.config import PREFIX, InvestigateConfig
from replayer.investigate.investigation import Ending, Investigation
from replayer.kafka.admin import LogAdmin
from replayer.kafka.errors import LogError
from replayer.logs import spoken

log = structlog.get_logger(__name__)

_TICK_S = 5.0
_LONGEST_PAUSE_S = 300.0


@dataclass(slots=True)
class _Running:
    investigation: Investigation
    task: asyncio.Task[Ending]


@dataclass(slots=True)
class _Resting:
    """A replay that is not to be tried again before `until` (monotonic seconds)."""

    until: float
    times: int


class Investigator:
    """Keeps what runs equal to what the rows want: wakes up, compares, starts and stops.

    Args:
        config: of every replay; `max_concurrent` of them at once.
        owned: the rows of each partition of the table this process is the active owner of, as of now. Asked on the
            event loop; an answer is used up before the next await.
        failed: called once if the investigator itself cannot go on (a row it cannot read), with the reason.

    Two processes that both believe they own a replay do no harm: the later one fences the earlier one.
    """

    def __init__(
        self,
        config: InvestigateConfig,
        owned: Callable[[], Iterable[Rows]],
        failed: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._config, self._owned, self._failed = config, owned, failed
        self._running: dict[str, _Running] = {}
        self._resting: dict[str, _Resting] = {}
        self._ended: set[str] = set()
        self._leaving: set[str] = set()
        self._wake = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._swept_at = float("-inf")

    async def start(self) -> None:
        """Begin; the first comparison follows at once."""
        if self._loop is None:
            self._wake.set()
            self._loop = asyncio.create_task(self._work(), name="investigator")
            self._loop.add_done_callback(self._over_and_out)

    async def stop(self) -> None:
        """Stop everything and wait for it; what ran is taken up from its last transaction by whoever comes next."""
        own = [task for task in (self._loop, self._sweeping) if task is not None]
        self._loop = self._sweeping = None
        for task in own:
            task.cancel()
        if own:
            await asyncio.wait(own)
        await self._halt(list(self._running))

    def wake(self) -> None:
        """Something may have changed: rows were written, partitions came or went. Cheap; to be called on the loop."""
        self._wake.set()

    @property
    def running(self) -> frozenset[str]:
        """The replays under way here."""
        return frozenset(self._running)

    async def _work(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_TICK_S):
                    await self._wake.wait()
            except TimeoutError:
                pass  # rests are over, or it is time to sweep
            self._wake.clear()
            await self._compare()
            self._sweep_if_due()

    def _over_and_out(self, loop: asyncio.Task[None]) -> None:
        error = None if loop.cancelled() else loop.exception()
        if error is not None:
            log.critical("the investigator cannot go on", reason=spoken(error), error=type(error).__name__)
            if self._failed is not None:
                self._failed(error)

    async def _compare(self) -> None:
        self._collect()
        wanted = {replay.replay_id: replay for rows in self._owned() for replay in open_replays(rows)}
        self._leaving |= self._ended - wanted.keys()
        self._ended &= wanted.keys()
        self._resting = {replay_id: rest for replay_id, rest in self._resting.items() if replay_id in wanted}
        for replay_id in wanted.keys() & self._running.keys():
            if wanted[replay_id].cancelled:
                self._running[replay_id].investigation.cancel()
        await self._halt([replay_id for replay_id in self._running if replay_id not in wanted])
        for replay in sorted(wanted.values(), key=_turn):
            full = len(self._running) >= self._config.max_concurrent
            if (replay.cancelled or not full) and self._may_start(replay.replay_id):
                self._start(replay)

    def _may_start(self, replay_id: str) -> bool:
        rest = self._resting.get(replay_id)
        resting = rest is not None and rest.until > time.monotonic()
        return not resting and replay_id not in self._ended and replay_id not in self._running

    def _start(self, replay: OpenReplay) -> None:
        investigation = Investigation(self._config, replay)
        task = asyncio.create_task(investigation.run(), name=f"replay {replay.replay_id}")
        task.add_done_callback(lambda _: self._wake.set())
        self._running[replay.replay_id] = _Running(investigation, task)

    def _collect(self) -> None:
        """What has come back: ended, or fenced. `run` raises nothing but its cancellation."""
        for replay_id, running in [(key, value) for key, value in self._running.items() if value.task.done()]:
            del self._running[replay_id]
            if running.task.cancelled():
                continue
            if running.task.result() is Ending.ENDED:
                self._ended.add(replay_id)  # its row will follow; until then it must not be started again
                self._resting.pop(replay_id, None)
                continue
            times = self._resting[replay_id].times + 1 if replay_id in self._resting else 1
            pause = min(self._config.fenced_pause_s * 2 ** (times - 1), _LONGEST_PAUSE_S)
            self._resting[replay_id] = _Resting(time.monotonic() + pause, times)

    async def _halt(self, replay_ids: Iterable[str]) -> None:
        halted = [self._running.pop(replay_id).task for replay_id in replay_ids]
        for task in halted:
            task.cancel()
        if halted:
            await asyncio.wait(halted)
        for task in halted:
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("a replay raised an error while it was stopped", exc_info=error)

    def _sweep_if_due(self) -> None:
        due = time.monotonic() - self._swept_at >= self._config.sweep_interval_s or bool(self._leaving)
        busy = self._sweeping is not None and not self._sweeping.done()
        if due and not busy and any(True for _ in self._owned()):
            self._sweeping = asyncio.create_task(self._sweep(), name="sweep of replay groups")

    async def _sweep(self) -> None:
        """Delete the groups of replays that have ended: as soon as their rows say so, never before.

        A row that is final is durable, and whoever owns it later finds it final; deleted any earlier, the group would
        be missed by an investigator whose row lags, and the replay would seem never to have run. Groups left behind by
        a process that was killed in between are found by their prefix from time to time.
        """
        leaving, self._leaving = self._leaving, set()
        try:
            async with LogAdmin(self._config.brokers, self._config.client) as admin:
                groups = {name for name in await admin.groups() if name.startswith(PREFIX)}
                gone = [name for name in groups if self._over(name[len(PREFIX) :])]
                if gone:
                    await admin.delete_groups(gone)
                    log.info("groups of ended replays are deleted", groups=len(gone))
        except (KafkaError, LogError) as error:
            log.warning("groups of ended replays could not be deleted; trying again", error=type(error).__name__)
            self._leaving |= leaving
        else:
            self._swept_at = time.monotonic()

    def _over(self, replay_id: str) -> bool:
        """Whether a row of ours says that it has ended and its group may go."""
        for rows in self._owned():
            replay = find(rows, replay_id)
            if replay is not None and replay.state.final:
                spec = replay.command.spec if replay.command is not None else None
                return spec is not None and not spec.keep_group
        return False


def _turn(replay: OpenReplay) -> tuple[bool, object, str]:
    """Cancelled ones first, they are short and need no turn; then in the order in which they were asked for."""
    return (not replay.cancelled, replay.command.requested_at, replay.replay_id)
