"""Two workers: a rebalance in mid-stream, and one that sleeps through the loss of its partitions."""

from __future__ import annotations

from tests.engine.workers import Field, read_all, until


async def test_exact_through_a_rebalance_and_a_zombie(broker, unique, tmp_path):
    async with Field(broker, unique("takeover"), tmp_path) as field:
        first = field.worker("w1")
        await field.ready()
        async with field.stream(rate=1000):
            second = field.worker("w2")
            await until(lambda: _shared(field), what="a partition for each")
            await until(lambda: _above(field, 1000), what="records by both")

            await first.freeze()
            await until(lambda: _owns(second, 2), what=f"the second owns both\n{second.log[-3000:]}")
            before = await until(lambda: _partitions(second))
            await until(lambda: _moved(second, before), what="the second goes on")
            first.thaw()
            assert await first.ended() != 0, "a zombie with a step at hand ends"
            assert "the worker ends" in first.log
            assert "the group has gone on without this worker" in first.log

            first.start()
            await until(lambda: _shared(field), what="a partition for each again")
        await field.all_counted()
        rows = [record for record in await read_all(broker, field.changelog) if record.key.startswith(b"e")]
        assert len(rows) == len({record.key for record in rows}) == field.sent, "the zombie's rows were not kept"


async def _above(field, count):
    return await field.events() > count


async def _shared(field):
    states = [await worker.state() for worker in field.workers.values()]
    return all(state and state["ready"] and len(state["partitions"]) == 1 for state in states)


async def _partitions(worker):
    state = await worker.state()
    return state and state["ready"] and state["partitions"]


async def _owns(worker, count):
    return len(await _partitions(worker) or ()) == count


async def _moved(worker, before):
    found = await _partitions(worker)
    return found and all(found[p]["events"] > before[p]["events"] for p in before)
