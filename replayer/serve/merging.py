"""One ordered list out of many partitions: exact pages, whatever each part could look through.

A page is the longest prefix of the whole list that is certain: no part has unseen keys in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Key = tuple[Any, ...]
"""What the list is ordered by. Text in code point order, which is the byte order of the rows' UTF-8 keys."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one source holds after the cursor: its matches in key order, complete up to and including `upto`.

    `upto` None: complete to the end.
    """

    found: Sequence[tuple[Key, Any]]
    upto: Key | None


def merge(parts: Sequence[Part], limit: int) -> Part:
    """The first `limit` matches of all parts together, and how far they are complete; merging merged parts is the same.

    Progress: where every part's `upto` lies beyond the cursor, so does the result's.
    """
    certain = min((part.upto for part in parts if part.upto is not None), default=None)
    found = sorted(
        (match for part in parts for match in part.found if certain is None or match[0] <= certain),
        key=lambda match: match[0],
    )
    if len(found) > limit:
        return Part(found[:limit], found[limit - 1][0])
    return Part(found, certain)
