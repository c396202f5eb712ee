"""Runs one replay in a process of its own, which may kill itself: `python -m tests.investigate.runner` with JSON."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
from typing import Any

from aiokafka import AIOKafkaProducer

from replayer.core.replays import OpenReplay
from replayer.investigate.config import InvestigateConfig
from replayer.investigate.investigation import Investigation
from replayer.kafka.partitioner import partition_of
from topics.codec import Undecodable
from topics.commands import decode_command


def strike(call: str, when: str, transaction: int) -> None:
    """Have this process die of kill -9 right `before` or `after` its producer's call in the so-many-th transaction."""
    original, numbers = getattr(AIOKafkaProducer, call), itertools.count(1)

    async def struck(producer: AIOKafkaProducer, *arguments: Any) -> Any:
        mine = next(numbers) == transaction
        if mine and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = await original(producer, *arguments)
        if mine:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(AIOKafkaProducer, call, struck)


def main() -> None:
    said = json.loads(sys.argv[1])
    if said["strike"] is not None:
        strike(*said["strike"])
    command = decode_command(said["command"].encode())
    assert not isinstance(command, Undecodable), command
    config = InvestigateConfig(
        brokers=[said["broker"]],
        partition_of=partition_of,
        sources=tuple(said["sources"]),
        progress_topic=said["progress_topic"],
        results_topic=said["results_topic"],
        commit_records=said["commit_records"],
        fetch_records=said["commit_records"],
        transaction_timeout_s=20.0,
    )
    ending = asyncio.run(Investigation(config, OpenReplay(command, cancelled=False, version=0)).run())
    print(ending.value)


if __name__ == "__main__":
    main()
