"""One KRaft node on loopback: its properties, and the question whether it is up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from replayer.kafka.connection import probe
from replayer.kafka.errors import BrokerUnreachable

HOST = "127.0.0.1"

#: One node that is broker and controller, tuned to start fast and stay small. What the caller names overrides it.
DEFAULTS: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    # Above the largest dead letter (1 MiB + 64 KiB), with room for a test to send an oversized record.
    "message.max.bytes": str(4 << 20),
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # A killed worker's open transaction holds back every read_committed reader until it is aborted: look often.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # A restarted node may register only once its former session has run out.
    "broker.heartbeat.interval.ms": "250",
    "broker.session.timeout.ms": "2000",
    "controlled.shutdown.enable": "false",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "log.cleaner.dedupe.buffer.size": str(16 << 20),
}


def properties(protocol: str, port: int, controller_port: int, log_dir: Path) -> dict[str, str]:
    """DEFAULTS with the listeners and the directory of one node."""
    listener = f"{protocol}://{HOST}:{port}"
    return {
        **DEFAULTS,
        "listeners": f"{listener},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": listener,
        "listener.security.protocol.map": f"CONTROLLER:PLAINTEXT,{protocol}:{protocol}",
        "inter.broker.listener.name": protocol,
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "log.dirs": str(log_dir),
    }


def as_file(properties: Mapping[str, str]) -> str:
    """Java properties."""
    lines = (f"{key}={value}".replace("\\", "\\\\").replace("\n", "\\n") for key, value in properties.items())
    return "".join(f"{line}\n" for line in lines)


def answers(bootstrap: str, client: Mapping[str, Any], timeout_s: float = 5.0) -> bool:
    """Whether a metadata request is answered with at least one live broker. Raises AccessRefused."""

    async def ask() -> bool:
        try:
            await probe([bootstrap], client, timeout_s)
        except BrokerUnreachable:
            return False
        return True

    # A thread of its own: our caller may be inside a running loop.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, ask()).result()
