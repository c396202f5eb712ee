"""What must hold once a run is over: in words, and as the checker takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Promise:
    """In one guarantee. `also`: what the recipe itself sees to. `events`: what becomes of them.

    `repeats`: a dead letter may stand twice. `only_events`: heads may be wrong and offsets may have gone back; what
    holds is that every event is there, once, in its place.
    """

    also: str
    events: str = "every event once"
    repeats: bool = False
    only_events: bool = False

    def __str__(self) -> str:
        letters = "a dead letter may be repeated" if self.repeats else "every dead letter once"
        heads = ["heads may be wrong and offsets go back"] if self.only_events else []
        return "; ".join([self.events, letters, *heads, self.also])


def promised(also: str, events: str = "every event once") -> Mapping[str, Promise]:
    """The same in each guarantee, but that at least once a killed worker's dead letters may be sent again."""
    return {"exactly_once": Promise(also, events), "at_least_once": Promise(also, events, repeats=True)}
