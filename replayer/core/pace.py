"""Reading no faster than asked."""

from __future__ import annotations


class Pace:
    """Spreads records evenly: what was read ahead of the rate has to be waited for. No rate: never waits.

    A pause is not made up for: after idle time the rate is the same as before.
    """

    def __init__(self, per_second: int | None) -> None:
        self._seconds_each = 1 / per_second if per_second else 0.0
        self._due = float("-inf")

    def chunk(self, most: int) -> int:
        """How many records to take at once: about a tenth of a second's worth, at least 1, at most `most`."""
        return max(1, min(most, int(0.1 / self._seconds_each))) if self._seconds_each else most

    def wait(self, records: int, now_s: float) -> float:
        """Seconds to wait after `records` were read at `now_s` (a monotonic clock)."""
        self._due = max(self._due, now_s) + records * self._seconds_each
        return self._due - now_s
