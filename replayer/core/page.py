"""A page of a list, and where the next one starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from replayer.core.errors import InvalidPosition

Position = tuple[Any, ...]
"""What the rows of a list are ordered by: a page resumed behind it neither repeats an item nor loses one."""


@dataclass(frozen=True, slots=True)
class Page:
    """`next`: the position to resume after; None where nothing is left. A page may be short, or empty, and have one."""

    items: list[dict[str, Any]]
    next: Position | None


def checked(position: Position, *types: type) -> Position:
    """The position, if it is of these types and its integers fit eight bytes. Raises InvalidPosition."""
    fits = len(position) == len(types) and all(type(part) is kind for part, kind in zip(position, types, strict=True))
    if not fits or not all(-(2**63) <= part < 2**63 for part in position if type(part) is int):
        raise InvalidPosition("this position was not given by a page of this order")
    return position
