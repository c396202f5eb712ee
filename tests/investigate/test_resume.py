"""A replay that is stopped anywhere is taken up again: nothing twice, nothing missing, the same digest."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from replayer.investigate.investigation import Ending, Investigation
from tests.investigate.conftest import Log, Output, command, wanted
from topics.commands import encode_command
from topics.progress import State

pytestmark = pytest.mark.broker

ROOT = Path(__file__).parents[2]


def is_whole(out: Output, positions: list[tuple[str, int, int]]) -> None:
    assert out.positions == sorted(positions)
    assert [it.seq for it in out.results] == list(range(len(positions)))
    (end,) = out.terminals
    assert (end.state, end.count, end.digest) == (State.COMPLETED, len(positions), out.digest)
    assert end.coverage is not None
    assert end.coverage.complete
    assert [said.version for said in out.progress] == list(range(1, len(out.progress) + 1))
    counted = [said.matched for said in out.progress]
    assert counted == sorted(counted)


async def test_cancelled_tasks_resume_where_the_last_transaction_left(log: Log, unique):
    positions = await log.events(6_000, transactional=unique("feed"))
    whole, broken = unique("whole"), unique("broken")
    assert await Investigation(log.config, wanted(whole)).run() is Ending.ENDED
    config = replace(log.config, commit_records=300, fetch_records=150)
    replay = wanted(broken, records_per_second=100)
    chance, seen = random.Random(7), 0
    for stop in range(8):
        running = asyncio.create_task(Investigation(config, replay).run())
        if stop % 2:  # while it takes over, or at work
            seen = (await log.progressed(broken, results=seen + 20)).matched
        await asyncio.sleep(chance.uniform(0, 0.2))
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
    assert 0 < seen < len(positions)
    assert await Investigation(config, wanted(broken)).run() is Ending.ENDED
    out = await log.output(broken)
    is_whole(out, positions)
    assert out.terminals[0].digest == (await log.output(whole)).terminals[0].digest


#: Where a process dies: before or after which call of its producer, in which of its transactions.
STRIKES = [
    ("send_offsets_to_transaction", "before", 3),  # results and progress are written, undecided, without offsets
    ("commit_transaction", "before", 3),  # all is written, undecided
    ("commit_transaction", "after", 3),  # all is decided, and nobody has been told
]


async def test_killed_processes_leave_nothing_twice_and_nothing_out(log: Log, unique):
    positions = await log.events(5_000)  # 20 transactions: no process ends before it is struck
    whole, killed = unique("whole"), unique("killed")
    assert await Investigation(log.config, wanted(whole)).run() is Ending.ENDED
    for strike in (*STRIKES, None):
        argument = {
            "broker": log.broker,
            "sources": log.sources,
            "progress_topic": log.config.progress_topic,
            "results_topic": log.config.results_topic,
            "commit_records": 250,
            "command": encode_command(command(killed)).decode(),
            "strike": strike,
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.investigate.runner", json.dumps(argument)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await process.communicate()
        assert process.returncode == (0 if strike is None else -signal.SIGKILL), (strike, said)
    assert said.decode().split()[-1] == "ended"
    out = await log.output(killed)
    is_whole(out, positions)
    assert out.terminals[0].digest == (await log.output(whole)).terminals[0].digest
