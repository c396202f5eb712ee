"""Starts and stops aiokafka's clients: started whole or not at all, stopped within a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import conn
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.producer import sender

_GRACE_S = 2.0

#: A transaction that begins while the markers of the one before are being written is told to try again. They take some
#: milliseconds; aiokafka waits for 20, which was most of a small transaction's time. There is no door for it.
_BETWEEN_TRANSACTIONS_S = 0.002


#: uvloop's words, in a bare RuntimeError, for a transport that has just been closed.
_TRANSPORT_IS_CLOSED = "the handler is closed"


class Connection(conn.AIOKafkaConnection):  # type: ignore[misc] # aiokafka has no types
    """aiokafka's, on any loop: whoever writes to a broker that is gone hears so, and in a KafkaError.

    A broker killed while a connection is made or before its end is noticed: asyncio drops what is written then, uvloop
    raises what nobody takes for a lost connection, and a lane that was about to begin anew ended its worker.
    """

    def send(self, request: Any, expect_response: bool = True) -> Any:
        try:
            return super().send(request, expect_response)
        except RuntimeError as exc:
            if _TRANSPORT_IS_CLOSED not in str(exc):
                raise
            self.close(reason=conn.CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} is closed") from exc


async def start(client: Any, close: Callable[[], Awaitable[None]]) -> None:
    """Start the client, its connections ours; where that fails or is cancelled, nothing of it stays open.

    A start that is cut off forgets the connection it was making, and nobody can close that any more: a cancellation
    lets it end first, within a grace. Raises what `start` raises.
    """
    sender.BACKOFF_OVERRIDE = _BETWEEN_TRANSACTIONS_S
    conn.AIOKafkaConnection = Connection
    starting = asyncio.ensure_future(client.start())
    try:
        await asyncio.shield(starting)
    except BaseException:
        if not starting.done():
            await asyncio.wait([starting], timeout=_GRACE_S)
            starting.cancel()
            await asyncio.wait([starting])
        if not starting.cancelled():
            starting.exception()  # looked at: what was raised here is what counts
        await close()
        raise


async def stop(producer: Any, within_s: float) -> None:
    """Stop a producer of which nothing is wanted any more; it never outlives this."""
    try:
        await asyncio.wait_for(producer.stop(), within_s)
    except (TimeoutError, KafkaError):
        # It waits for a broker that is away. Left alone it would deliver what it holds when the broker is back, after
        # newer records of its successor.
        task = producer._sender.sender_task
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=within_s)
        await producer.client.close()
