"""A source that was deleted and made anew is another log: the worker ends with a sentence that says what to do."""

from __future__ import annotations

from tests.engine.workers import Field, admin, until


async def recreate(field, topic):
    async with admin(field.bootstrap) as client:
        await client.delete_topics([topic])

    async def gone():
        async with admin(field.bootstrap) as client:
            return topic not in await client.list_topics()

    await until(gone, what="the topic is gone")
    await field.create_topics([topic])


async def test_a_recreated_topic_is_refused_shorter_or_longer(broker, unique, tmp_path):
    async with Field(broker, unique("recreated"), tmp_path) as field:
        worker = field.worker("w1")
        await field.send(200)
        before = await field.all_counted()
        worker.kill()
        await recreate(field, field.sources[0])

        worker.start()
        assert await worker.ended() == 1
        assert "below" in worker.log
        assert "REPLAYER_APP_ID" in worker.log
        assert "was truncated or recreated" in worker.log

        await field.send(1000)  # now it is longer than the table's position: only the records tell
        worker.start()
        assert await worker.ended() == 1
        assert "is not the one that was folded" in worker.log
        assert before["0"]["gaps"] == []
