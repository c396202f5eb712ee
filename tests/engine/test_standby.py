"""Standbys follow the changelog; promoted, they hold every row and go on from there."""

from __future__ import annotations

from tests.engine.workers import Field, until


async def test_a_promoted_standby_has_every_row(broker, unique, tmp_path):
    async with Field(broker, unique("standby"), tmp_path, standby_replicas=1, slow_s=0.01) as field:
        first = field.worker("w1")
        await field.ready()
        await field.send(4000)  # the standby starts with something to read
        await field.all_counted()
        second = field.worker("w2")
        async with field.stream(rate=1000):
            await until(lambda: _shared(field), what="a partition for each")
            await until(lambda: _above(field, 6000), what="records by both")

            first.kill()
            await until(lambda: _owns_all(second, field), what=f"the standby is promoted\n{second.log[-3000:]}")
        await field.all_counted()
        before = await field.digests()
        state = await until(second.state)
        assert state["measures"].get("set_aside_ahead", 0) == 0

        first.start()  # it comes back with state that is behind, and catches up
        await until(lambda: _shared(field), what="a partition for each again")
        assert await field.digests() == before
        await field.send(500)
        await field.all_counted()


async def _above(field, count):
    return await field.events() > count


async def _shared(field):
    states = [await worker.state() for worker in field.workers.values()]
    return all(state and state["ready"] and len(state["partitions"]) == 1 for state in states)


async def _owns_all(worker, field):
    state = await worker.state()
    return state and state["ready"] and len(state["partitions"]) == field.options["partitions"]
