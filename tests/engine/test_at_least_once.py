"""At-least-once: records may be folded twice after a crash; heads that keep what they applied still count once."""

from __future__ import annotations

from tests.engine.workers import Field, committed, until


async def test_exact_after_termination_and_after_kill_9(broker, unique, tmp_path):
    async with Field(broker, unique("atleast"), tmp_path, guarantee="at_least_once", slow_s=0.005) as field:
        worker = field.worker("w1")
        await field.ready()
        async with field.stream(rate=1500):
            await until(lambda: _above(field, 1000), what="some records")
            assert await worker.terminate() == 0
            worker.start()
            await until(lambda: _above(field, 3000), what="more records")
            worker.kill()
            worker.start()
            await field.ready()
        found = await field.all_counted()

        topic = field.sources[0]
        positions = {partition: state["positions"][topic] for partition, state in found.items()}

        async def equal():
            return await committed(broker, field.app, topic) == positions

        await until(equal, what="the offsets follow the positions")


async def _above(field, count):
    return await field.events() > count
