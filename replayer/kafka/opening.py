"""Opens aiokafka's clients: whole, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka.errors import KafkaConnectionError

from replayer.kafka.errors import BrokerUnreachable

_GRACE_S = 2.0


async def opened(client: Any, close: Callable[[], Awaitable[None]], brokers: Sequence[str]) -> None:
    """Start the client; where that fails or is cancelled, nothing of it stays open.

    A start that is cut off forgets the connection it was making, and nobody can close that any more: a cancellation
    lets it end first, within a grace. Raises BrokerUnreachable where no broker answers, and what else `start` raises.
    """
    starting = asyncio.ensure_future(client.start())
    try:
        await asyncio.shield(starting)
    except BaseException as error:
        if not starting.done():
            await asyncio.wait([starting], timeout=_GRACE_S)
            starting.cancel()
            await asyncio.wait([starting])
        if not starting.cancelled():
            starting.exception()  # looked at: what was raised here is what counts
        await close()
        if isinstance(error, KafkaConnectionError):
            raise BrokerUnreachable(f"No Kafka broker answers at {','.join(brokers)}.") from error
        raise
