"""Opens aiokafka's clients: whole, or not at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka.errors import KafkaConnectionError

from replayer import clients
from replayer.kafka.errors import BrokerUnreachable


async def opened(client: Any, close: Callable[[], Awaitable[None]], brokers: Sequence[str]) -> None:
    """Start the client; where that fails or is cancelled, nothing of it stays open.

    Raises BrokerUnreachable where no broker answers, and what else `start` raises.
    """
    try:
        await clients.start(client, close)
    except KafkaConnectionError as error:
        raise BrokerUnreachable(f"No Kafka broker answers at {','.join(brokers)}.") from error
