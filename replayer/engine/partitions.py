"""How many partitions the topics of the tables have, as time goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from replayer.engine.advice import START_OVER
from replayer.engine.config import TableSpec


def added(
    specs: Iterable[TableSpec], changelog: Callable[[str], str], count: Callable[[str], int | None]
) -> str | None:
    """What to say where a topic has another number of partitions than its table; None where all is well.

    Partitions may be added to a topic while workers read it. Keys move then, and the assignor deals the topic out by
    itself: a lane without one of its sources, a source without a lane, and nobody who says so. `count` gives None for a
    topic of which nothing is known at the moment.
    """
    for spec in specs:
        for topic in (changelog(spec.name), *spec.sources):
            found = count(topic)
            if found is None or found == spec.partitions:
                continue
            if spec.feeds:
                return (
                    f"Topic {topic} has {found} partitions now, and {spec.partitions} are read: the worker ends to be "
                    "started again, and reads all there are then."
                )
            kept = f"Copy its records, by key, into a topic made anew with {spec.partitions}; then"
            return (
                f"Topic {topic} has {found} partitions, and the topics it is read together with have {spec.partitions}:"
                " a workflow's events would be split between workers, and Kafka takes no partition back. "
                f"{kept if topic in spec.sources else 'To go on,'} {START_OVER}"
            )
    return None
