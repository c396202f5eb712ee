"""Events per second out of observed commits: pure, so that the arithmetic of every figure is tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: How long a contender may take from its start to its first commit, and from one to the next.
_FIRST_COMMIT_S, _SILENCE_S = 90.0, 30.0


class NotMeasurable(Exception):
    """A run whose samples give no rate; the text says what was missing."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen at one poll: seconds on a monotonic clock, the group's committed offsets added up, the contender's
    processor seconds and resident bytes, the broker's processor seconds, and those of everybody who has no part in it.
    """

    at: float
    committed: int
    cpu_s: float
    rss: int
    broker_cpu_s: float = 0.0
    strangers_cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Rate:
    """`events` durable within `seconds`, and what they cost the contender's process and the broker.

    `disturbed`: cores that processes without a part in the measurement kept busy meanwhile; near 0 on an idle machine.
    """

    events: int
    seconds: float
    cpu_us_per_event: float
    broker_cpu_us_per_event: float
    rss_mb: float
    disturbed: float

    @property
    def per_second(self) -> float:
        return self.events / self.seconds


def advances(samples: Sequence[Sample]) -> list[Sample]:
    """The samples at which the committed sum had grown: the first sight of each value."""
    seen: list[Sample] = []
    for sample in samples:
        if sample.committed > (seen[-1].committed if seen else 0):
            seen.append(sample)
    return seen


def window(samples: Sequence[Sample], warm_up_s: float, end: int) -> list[Sample]:
    """The commits that count: from the first one at least `warm_up_s` after the very first, up to offset sum `end`.

    `end` lies below the end of the log: there a contender waits for its next commit with nothing left to do.
    """
    seen = [sample for sample in advances(samples) if sample.committed <= end]
    return [sample for sample in seen if sample.at >= seen[0].at + warm_up_s]


def enough(samples: Sequence[Sample], warm_up_s: float, seconds: float, end: int) -> bool:
    """Whether a run is over: the log's usable end is reached, or a commit lies beyond the window and two are in it.

    Two, because plain Faust may take eight seconds from one commit to the next. A contender that does not begin, or
    commits no more, is given up on.
    """
    if not samples:
        return False
    seen, now = advances(samples), samples[-1].at
    if not seen:
        return now - samples[0].at > _FIRST_COMMIT_S
    over = seen[-1].at >= seen[0].at + warm_up_s + seconds and len(window(samples, warm_up_s, end)) > 1
    return over or seen[-1].committed >= end or now > seen[-1].at + _SILENCE_S


def rate(samples: Sequence[Sample], warm_up_s: float, end: int) -> Rate:
    """The slope between the first and the last commit that count.

    Each end is seen up to one polling interval late, so the error is at most that interval over the window.
    Raises NotMeasurable with fewer than two commits.
    """
    counted = window(samples, warm_up_s, end)
    if len(counted) < 2:
        last_seen = advances(samples)[-1:]
        quiet_s = samples[-1].at - last_seen[0].at if last_seen else 0.0
        raise NotMeasurable(
            f"{len(counted)} commits behind a warm-up of {warm_up_s:g} s, two are needed; "
            f"{len(samples)} polls saw {last_seen[0].committed if last_seen else 0:,} events, the last of them "
            f"{quiet_s:.0f} s before the end (more events in the log, or more seconds?)"
        )
    first, last = counted[0], counted[-1]
    events = last.committed - first.committed
    return Rate(
        events,
        last.at - first.at,
        cpu_us_per_event=(last.cpu_s - first.cpu_s) * 1e6 / events,
        broker_cpu_us_per_event=(last.broker_cpu_s - first.broker_cpu_s) * 1e6 / events,
        rss_mb=max(sample.rss for sample in counted) / 2**20,
        disturbed=max(0.0, last.strangers_cpu_s - first.strangers_cpu_s) / (last.at - first.at),
    )
