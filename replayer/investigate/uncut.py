"""Steps that a cancellation waits for: a client that is half started can neither be used nor closed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")
_GRACE_S = 10.0


async def uncut(step: Coroutine[Any, Any, Result], grace_s: float = _GRACE_S) -> Result:
    """What the step gives or raises. Cancelled meanwhile, it first lets the step end, within the grace."""
    task = asyncio.ensure_future(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=grace_s)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # looked at: the cancellation is what counts now
        raise
