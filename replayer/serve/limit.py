"""How often one caller may ask one worker: a sliding window in memory, nothing shared, nothing stored.

A forwarded request counts at both workers, so that the hop header is no way around the limit.
"""

from __future__ import annotations

import math
import time

import limits
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from replayer.serve.problems import Problem


class CallerLimit:
    """At most `per_second` requests of each caller in any second, give or take the estimate of a sliding window."""

    def __init__(self, per_second: int) -> None:
        self._rate = limits.RateLimitItemPerSecond(per_second)
        self._window = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def spend(self, caller: str) -> None:
        """Count one request of this caller; raises a 429 with Retry-After where it is one too many."""
        if await self._window.hit(self._rate, caller):
            return
        stats = await self._window.get_window_stats(self._rate, caller)
        wait_s = max(1, math.ceil(stats.reset_time - time.time()))
        raise Problem(
            429,
            "too-many-requests",
            f"More than {self._rate.amount} requests a second from one caller.",
            headers={"Retry-After": str(wait_s)},
        )
