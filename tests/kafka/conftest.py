"""Topics of one test, on the run's broker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from replayer.kafka.admin import LogAdmin
from topics.catalogue import Topic
from topics.classification import Classification

MakeTopic = Callable[..., Awaitable[str]]


@pytest.fixture
def make_topic(broker, unique) -> MakeTopic:
    """`await make_topic("orders", partitions=2)` -> the name of a new topic."""

    async def make(name: str = "topic", partitions: int = 1, **changes) -> str:
        topic = Topic(unique(name), "key", "bytes", Classification.INTERNAL, partitions=partitions, **changes)
        async with LogAdmin([broker]) as admin:
            assert await admin.create([topic], 1) == [topic.name]
        return topic.name

    return make
