"""How far those that send records on have run ahead of those that fold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from faust.types import TP


class Ahead:
    """By topic, the records in it that the group has yet to fold, as of the last look; `most` may wait."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[str, int] = {}

    def look(self, ends: Mapping[TP, int], committed: Mapping[TP, int | None]) -> None:
        """Where these partitions end, and where the group stands in them; nothing is made of one without the other."""
        waiting: dict[str, int] = {}
        for tp in ends.keys() & committed.keys():
            waiting[tp.topic] = waiting.get(tp.topic, 0) + max(0, ends[tp] - (committed[tp] or 0))
        self._waiting.update(waiting)

    def too_far(self, topics: Iterable[str]) -> bool:
        """Whether one who feeds these topics has to wait."""
        return any(self._waiting.get(topic, 0) > self._most for topic in topics)
