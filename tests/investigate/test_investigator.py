"""The investigator keeps what runs equal to what the rows want."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from replayer.core.replays import find, replay_key
from replayer.investigate.config import group_of
from replayer.investigate.investigation import Ending, Investigation
from replayer.investigate.investigator import Investigator
from tests.investigate.conftest import DAY, Log, command, wanted
from tests.investigate.table import Table
from topics.commands import ReplayCommand
from topics.progress import State

pytestmark = pytest.mark.broker


@asynccontextmanager
async def investigating(log: Log, table: Table, **config: object) -> AsyncIterator[Investigator]:
    investigator = Investigator(replace(log.config, fenced_pause_s=0.2, **config), table.partitions)
    await investigator.start()
    try:
        yield investigator
    finally:
        await investigator.stop()
        assert not investigator.running


async def until(condition: Callable[[], bool | Awaitable[bool]], timeout_s: float = 60.0) -> None:
    async with asyncio.timeout(timeout_s):
        while True:
            met = condition()
            if await met if isinstance(met, Awaitable) else met:
                return
            await asyncio.sleep(0.02)


async def ended(table: Table, *replay_ids: str) -> bool:
    await table.catch_up()
    found = [find(table, replay_id) for replay_id in replay_ids]
    return all(replay is not None and replay.state.final for replay in found)


def cancel(replay_id: str) -> ReplayCommand:
    return ReplayCommand(
        command_id=f"cancel-{replay_id}", replay_id=replay_id, action="cancel", requester="ada", requested_at=DAY
    )


async def test_as_many_at_once_as_allowed_and_all_in_the_end(log: Log, unique, monkeypatch):
    now, most = 0, 0

    class Counted(Investigation):
        async def run(self) -> Ending:
            nonlocal now, most
            now += 1
            most = max(most, now)
            try:
                return await super().run()
            finally:
                now -= 1

    monkeypatch.setattr("replayer.investigate.investigator.Investigation", Counted)
    positions = await log.events(600)
    table = Table(log)
    ids = [unique(f"many{n}") for n in range(4)]
    table.tell(*(command(replay_id) for replay_id in ids))
    async with investigating(log, table, max_concurrent=2) as investigator:

        async def done() -> bool:
            investigator.wake()
            return await ended(table, *ids)

        await until(done)
    assert most == 2
    for replay_id in ids:
        assert (await log.output(replay_id)).positions == sorted(positions)


async def test_a_group_is_deleted_once_the_row_says_it_is_over_and_kept_when_asked(log: Log, unique):
    await log.events(50)
    table = Table(log)
    gone, kept = unique("gone"), unique("kept")
    table.tell(command(gone), command(kept, keep_group=True))
    async with investigating(log, table) as investigator:
        await until(lambda: log.ended(gone, kept))
        for _ in range(5):  # the rows lag: nothing may be run again, no group may go
            investigator.wake()
            await asyncio.sleep(0.1)
        assert {group_of(gone), group_of(kept)} <= (await log.groups()).keys()
        await table.catch_up()
        investigator.wake()

        async def deleted() -> bool:
            return group_of(gone) not in await log.groups()

        await until(deleted)
        assert group_of(kept) in await log.groups()
    for replay_id in (gone, kept):
        assert len((await log.output(replay_id)).terminals) == 1


async def test_a_group_left_behind_by_a_killed_process_is_found(log: Log, unique):
    table = Table(log)
    orphan, stranger = unique("orphan"), unique("stranger")
    table.tell(command(orphan))
    for replay_id in (orphan, stranger):
        await Investigation(log.config, wanted(replay_id)).run()
    table.tell(command(orphan))
    await table.catch_up()
    del table.rows[replay_key(stranger)]  # it belongs to another investigator's partitions
    assert {group_of(orphan), group_of(stranger)} <= (await log.groups()).keys()
    async with investigating(log, table):

        async def swept() -> bool:
            return group_of(orphan) not in await log.groups()

        await until(swept)
        assert group_of(stranger) in await log.groups()


async def test_what_is_revoked_stops_and_is_taken_up_again_after_assignment(log: Log, unique):
    positions = await log.events(3_000)
    table = Table(log)
    replay_id = unique("moved")
    table.tell(command(replay_id, records_per_second=20))
    async with investigating(log, table) as investigator:
        await log.progressed(replay_id, results=1)
        table.owned = False
        investigator.wake()
        await until(lambda: not investigator.running)
        before = (await log.output(replay_id)).progress[-1]
        assert before.state is State.RUNNING
        await asyncio.sleep(0.5)  # more than two checkpoints' time
        assert (await log.output(replay_id)).progress[-1] == before
        await table.tell_anew(command(replay_id))
        table.owned = True
        investigator.wake()
        await until(lambda: ended(table, replay_id))
    out = await log.output(replay_id)
    assert out.positions == sorted(positions)
    assert (out.terminals[0].count, out.terminals[0].digest) == (3_000, out.digest)


async def test_a_cancel_reaches_what_runs_and_what_waits_its_turn(log: Log, unique):
    await log.events(2_000)
    table = Table(log)
    runs, waits = unique("a-runs"), unique("b-waits")
    table.tell(command(runs, records_per_second=10), command(waits))
    async with investigating(log, table, max_concurrent=1) as investigator:
        await log.progressed(runs, results=1)
        table.tell(cancel(waits))
        investigator.wake()
        await until(lambda: ended(table, waits))
        assert runs in investigator.running
        table.tell(cancel(runs))
        investigator.wake()
        await until(lambda: ended(table, runs))
    for replay_id in (runs, waits):
        replay = find(table, replay_id)
        assert replay is not None
        assert replay.state is State.CANCELLED


async def test_a_replay_another_process_runs_is_left_to_it_and_tried_again_later(log: Log, unique):
    positions = await log.events(2_000)
    table = Table(log)
    replay_id = unique("shared")
    table.tell(command(replay_id, records_per_second=10))
    async with investigating(log, table) as investigator:
        await log.progressed(replay_id, results=1)
        other = asyncio.create_task(Investigation(log.config, wanted(replay_id, records_per_second=10)).run())
        await until(lambda: not investigator.running)
        assert not await log.ended(replay_id)
        other.cancel()
        await asyncio.wait([other])
        assert other.cancelled()
        await table.tell_anew(command(replay_id))
        investigator.wake()
        await until(lambda: ended(table, replay_id))
    out = await log.output(replay_id)
    assert out.positions == sorted(positions)
    assert len(out.terminals) == 1


async def test_a_row_it_cannot_read_is_said_once_and_ends_it(log: Log, unique):
    table = Table(log)
    replay_id = unique("damaged")
    table.tell(command(replay_id))
    table.rows[replay_key(replay_id)] = b"\x63{}"
    said: list[BaseException] = []
    investigator = Investigator(log.config, table.partitions, said.append)
    await investigator.start()
    await until(lambda: bool(said))
    await investigator.stop()
    assert "format 99" in str(said[0])
