"""Runs one replay in a process of its own, to be killed: `python -m tests.investigate.runner` with JSON as argument."""

from __future__ import annotations

import asyncio
import json
import sys

from replayer.core.replays import OpenReplay
from replayer.investigate.config import InvestigateConfig
from replayer.investigate.investigation import Investigation
from replayer.kafka.partitioner import partition_of
from topics.codec import Undecodable
from topics.commands import decode_command


def main() -> None:
    said = json.loads(sys.argv[1])
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
