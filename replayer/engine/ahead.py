"""How far those that send records on have run ahead of those that fold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from faust.types import TP


class Ahead:
    """By topic, the records in it that the group has yet to fold, as of the last look; `most` may wait."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._waiting: dict[str, int] = {}

    def look(self, begins: Mapping[TP, int], ends: Mapping[TP, int], committed: Mapping[TP, int | None]) -> None:
        """Where these logs begin and end, and where the group stands in them; nothing is made of one without the rest.

        What has expired waits for nobody: a group that has committed nothing yet, or less, stands where its log begins.
        """
        waiting: dict[str, int] = {}
        for tp in begins.keys() & ends.keys() & committed.keys():
            stands = max(committed[tp] or 0, begins[tp])
            waiting[tp.topic] = waiting.get(tp.topic, 0) + max(0, ends[tp] - stands)
        self._waiting.update(waiting)

    @property
    def waiting(self) -> Mapping[str, int]:
        return self._waiting

    def too_far(self, topics: Iterable[str]) -> bool:
        """Whether one who feeds these topics has to wait."""
        return any(self._waiting.get(topic, 0) > self.most for topic in topics)
