"""The broker is killed and comes back, and stands still for longer than sessions last."""

from __future__ import annotations

import asyncio
import os
import signal

from replayer.kafka.broker import EmbeddedBroker
from tests.engine.workers import Field, read_all, until


async def test_exact_through_a_broker_that_is_killed_and_one_that_stands_still(unique, tmp_path):
    async with (
        EmbeddedBroker(data_dir=tmp_path / "kafka") as own,
        Field(own.bootstrap, unique("outage"), tmp_path, slow_s=0.01, session_timeout_s=3.0) as field,
    ):
        worker = field.worker("w1")
        await field.ready()
        await field.send(6000)
        await until(lambda: _above(field, 500), what="some records")
        await asyncio.to_thread(own.kill)
        await asyncio.to_thread(own.restart)
        await field.all_counted()
        assert worker.exit_code is None, worker.log[-3000:]

        await field.send(3000)
        await until(lambda: _above(field, 6500), what="some more")
        os.kill(own.pid, signal.SIGSTOP)
        await asyncio.sleep(1.5 * field.options["session_timeout_s"])  # what is tested is that nothing happens
        os.kill(own.pid, signal.SIGCONT)
        if await _ended(worker):  # it may have lost its session: then it says so, and another start goes on
            assert "the group has gone on without this worker" in worker.log
            worker.start()
        await field.all_counted()
        rows = [record for record in await read_all(own.bootstrap, field.changelog) if record.key.startswith(b"e")]
        assert len(rows) == len({record.key for record in rows}) == field.sent


async def _above(field, count):
    return await field.events() > count


async def _ended(worker):
    async def decided():
        state = await worker.state()
        return worker.exit_code is not None or (state is not None and state["ready"])

    await until(decided, what="the worker goes on or ends")
    return worker.exit_code is not None
