"""One worker, struck in mid-stream: killed, terminated, its state lost. Every record counts once."""

from __future__ import annotations

import shutil

from tests.engine.workers import Field, committed, read_all, until


async def test_exact_through_kill_9_termination_and_lost_state(broker, unique, tmp_path):
    async with Field(broker, unique("life"), tmp_path, slow_s=0.01, session_timeout_s=6.0) as field:
        worker = field.worker("w1")
        await field.ready()

        async with field.stream(rate=2000):
            await until(lambda: _above(field, 500), what="some records")
            worker.kill()
            worker.move()  # back before its session ran out, under another address
            worker.start()
            await field.ready()
        state = await until(worker.state)
        assert set(state["owners"].values()) == {f"http://127.0.0.1:{worker.port}"}
        found = await field.all_counted()
        positions = {partition: state["positions"][field.sources[0]] for partition, state in found.items()}

        async def equal():
            return positions == await committed(broker, field.app, field.sources[0])

        await until(equal, what="the committed offsets are the positions")

        before = field.sent
        async with field.stream(rate=2000):
            await until(lambda: _above(field, before + 500), what="more records")
            assert await worker.terminate() == 0, "1 is the end of a worker that did not stop within its grace"
        worker.start()
        await field.all_counted()
        digests = await field.digests()

        worker.kill()
        shutil.rmtree(worker.data_dir)
        worker.start()
        assert await field.digests() == digests, "rebuilt from the changelog, the rows are the same"
        state = await until(worker.state)
        assert state["measures"]["recovered"] >= field.sent
        await field.send(100)
        await field.all_counted()
        # The changelog holds each event row once: no step was made durable twice.
        rows = [record for record in await read_all(broker, field.changelog) if record.key.startswith(b"e")]
        assert len(rows) == len({record.key for record in rows}) == field.sent


async def _above(field: Field, count: int) -> bool:
    return await field.events() > count
