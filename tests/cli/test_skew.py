"""topics skew, as a process against a real broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from replayer.kafka.admin import LogAdmin
from topics.catalogue import Topic
from topics.classification import Classification

pytestmark = pytest.mark.broker

Command = Callable[..., Any]


async def filled(broker: str, topic: str, records: list[tuple[bytes | None, bytes, int]]) -> None:
    """A topic of three partitions with these records: key, value, partition."""
    async with LogAdmin([broker]) as admin:
        await admin.create([Topic(topic, "anything", "bytes", Classification.INTERNAL, 3)])
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()
    try:
        for key, value, partition in records:
            await producer.send(topic, value, key, partition=partition)
        await producer.flush()
    finally:
        await producer.stop()


#: Partitions with 20, 5 and 0 records; one key has most of them, one is no text, some are none.
UNEVEN = [*[(b"hot", b"v" * 10, 0)] * 17, *[(b"\xff\x1b[0m", b"v" * 10, 0)] * 3, *[(None, b"v", 1)] * 5]
#: One key fills a partition.
FULL = [*[(b"all", b"v", 0)] * 90, *((b"%d" % number, b"v", 1) for number in range(10))]


def test_the_fullest_partitions_and_the_hottest_keys(
    broker: str, replayer: Command, cluster: dict[str, str], unique: Callable[[str], str]
) -> None:
    topic = unique("skewed")
    asyncio.run(filled(broker, topic, UNEVEN))
    told = json.loads(replayer("topics", "skew", topic, "--json", **cluster).stdout)
    assert [(part["partition"], part["offsets"]) for part in told["partitions"]] == [(0, 20), (1, 5), (2, 0)]
    assert told["records_read"] == 25
    keys = [(key["key"], key["partition"], key["records"], key["bytes"]) for key in told["keys"]]
    assert keys[:2] == [("hot", 0, 17, 17 * 13), (None, 1, 5, 5)]
    assert keys[2][1:] == (0, 3, 3 * 15)
    assert keys[2][0].isascii()
    shown = replayer("topics", "skew", topic, "--keys", "1", "--records", "3", **cluster).stdout
    assert "80%" in shown, "of the offsets, of which the fullest partition has 20 of 25"
    assert "2.40" in shown
    assert "of the latest 4 records" in shown, "3 of 20, 1 of 5, none of none"
    assert [key["share_of_topic"] for key in told["keys"]] == [17 / 25, 5 / 25, 3 / 25]
    assert "\x1b" not in shown


def test_a_key_that_fills_its_partition_has_the_share_it_has_of_the_topic(
    broker: str, replayer: Command, cluster: dict[str, str], unique: Callable[[str], str]
) -> None:
    """However few of them are read."""
    topic = unique("full")
    asyncio.run(filled(broker, topic, FULL))
    told = json.loads(replayer("topics", "skew", topic, "--records", "20", "--json", **cluster).stdout)
    assert (told["keys"][0]["key"], told["keys"][0]["share_of_topic"]) == ("all", pytest.approx(0.9, abs=0.05))


def test_a_topic_that_is_not_there_is_exit_code_3(replayer: Command, cluster: dict[str, str]) -> None:
    done = replayer("topics", "skew", "nobody-made-it", **cluster)
    assert done.returncode == 3
    assert "There is no topic nobody-made-it" in done.stderr


def test_all_sources_are_looked_at_without_a_name(replayer: Command, cluster: dict[str, str]) -> None:
    told = json.loads(replayer("topics", "skew", "--json", "--records", "10", **cluster).stdout)
    assert {part["topic"] for part in told["partitions"]} >= {"workflow-events", "stage-events"}
