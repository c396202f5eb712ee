"""topics create, topics check: the cluster's topics against what replayer needs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replayer.commands import output
from replayer.commands.failures import Exit
from replayer.commands.options import Broker, Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replayer.settings import Settings
    from topics.catalogue import Topic


def create(*, broker: Broker = None, json: Json = False) -> int:
    """Create every topic that is missing, as the catalogue says; topics that exist are left as they are.

    REPLAYER_PARTITIONS and REPLAYER_REPLICATION_FACTOR decide about new ones.
    """
    from replayer.settings import load

    settings = load(broker=broker)
    topics = _topics(settings)
    made = asyncio.run(_create(settings, topics))
    if json:
        output.say_json({"created": made, "existed": [topic.name for topic in topics if topic.name not in made]})
        return Exit.OK
    rows = [
        (topic.name, str(topic.partitions), topic.cleanup_policy, "created" if topic.name in made else "was there")
        for topic in topics
    ]
    output.stdout().print(output.table(("topic", "partitions", "cleanup", ""), rows))
    if len(made) < len(topics):
        output.say("Whether those that were there fit: replayer topics check")
    return Exit.OK


def check(*, broker: Broker = None, json: Json = False) -> int:
    """Compare the cluster's topics with what they should be; exit code 1 where something does not fit."""
    from replayer.settings import load

    settings = load(broker=broker)
    topics = _topics(settings)
    problems = asyncio.run(_check(settings, topics))
    if json:
        output.say_json({"ok": not problems, "topics": [topic.name for topic in topics], "problems": problems})
    elif problems:
        output.complain("\n".join(problems))
    else:
        output.say(f"All {len(topics)} topics are there and fit.")
    return Exit.FAILED if problems else Exit.OK


def _topics(settings: Settings) -> tuple[Topic, ...]:
    from replayer.deployment import topics

    return topics(settings)


async def _create(settings: Settings, topics: Sequence[Topic]) -> list[str]:
    from replayer.kafka.admin import LogAdmin
    from replayer.kafka.connection import check_broker, client_arguments

    await check_broker(settings)
    async with LogAdmin(settings.brokers, client_arguments(settings)) as admin:
        return await admin.create(topics, settings.replication_factor)


async def _check(settings: Settings, topics: Sequence[Topic]) -> list[str]:
    from replayer.deployment import foreign, together
    from replayer.kafka.admin import LogAdmin
    from replayer.kafka.connection import check_broker, client_arguments

    await check_broker(settings)
    async with LogAdmin(settings.brokers, client_arguments(settings)) as admin:
        return await admin.check(topics, together(settings), foreign(settings))
