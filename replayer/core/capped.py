"""Sets and sums that stay small, and come out the same whatever order their parts came in.

A set is a sorted tuple of the smallest MAX_VALUES values. A value pushed out never comes back (the smaller ones that
pushed it are there to stay), so neither the set nor its overflow mark depends on the order of arrival.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Protocol

MAX_VALUES = 64
MAX_SUM = 2**53 - 1  # the largest integer every JSON reader keeps exact

Values = tuple[str, ...]


class Owner(Protocol):
    """What has capped sets as attributes, and the names of those that are not complete."""

    overflow: Values


def put(owner: Owner, name: str, value: str) -> str | None:
    """Put `value` into the owner's set `name`; answers with what found no room in it.

    Callers ask `not in` first: that it is there is the common case.
    """
    values: Values = getattr(owner, name)
    if not values:
        setattr(owner, name, (value,))
        return None
    at = bisect_left(values, value)
    more = (*values[:at], value, *values[at:])
    setattr(owner, name, more[:MAX_VALUES])
    if len(values) < MAX_VALUES:
        return None
    if name not in owner.overflow:
        owner.overflow = tuple(sorted((*owner.overflow, name)))
    return more[MAX_VALUES]


def plus(total: int, amount: int) -> int:
    """A sum that stops at MAX_SUM; nothing is ever subtracted."""
    total += amount  # no call of min(): this runs three times an event
    return total if total < MAX_SUM else MAX_SUM


def count(counts: dict[str, int], name: str) -> None:
    """One more of `name`. For names from a closed set only: nothing caps the dict."""
    counts[name] = counts.get(name, 0) + 1
