"""One partition's share of a replay: from what was asked for and what the log has, through every step, to coverage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, Self

import orjson

from topics.commands import BetweenOffsets, BetweenTimes, Range
from topics.fields import micros
from topics.progress import MAX_GAPS, Coverage, Gap, PartitionCoverage
from topics.results import add_digests, digest_hex

Head = Literal["complete", "truncated_head", "unknown"]
_FORMAT: Final = 1


class TooManyGaps(Exception):
    """The log expires faster than the replay reads it; the text says where."""


@dataclass(frozen=True, slots=True)
class LogFacts:
    """What a log says of one partition when a replay starts.

    `begin`, `end`: it holds [begin, end), all transactions in it decided. `at_start`, `at_end`: the first offsets at or
    after the times the range names; None where the range names no such time or nothing is that late.
    """

    begin: int
    end: int
    at_start: int | None = None
    at_end: int | None = None


@dataclass(slots=True)
class Stretch:
    """[start, end) of a partition was asked for, [start, position) is done. `digest` is over its results so far."""

    topic: str
    partition: int
    start: int
    end: int
    position: int
    head: Head = "complete"
    gaps: list[Gap] = field(default_factory=list)
    read: int = 0
    matched: int = 0
    undecodable: int = 0
    digest: int = 0

    @property
    def stop(self) -> int:
        """Where reading ends: before what had not been written when the replay started."""
        return self.gaps[-1].start if self.gaps and self.gaps[-1].reason == "not_written" else self.end

    @property
    def done(self) -> bool:
        return self.position >= self.stop

    def found(self, share: int) -> None:
        """Count a result; `share` is its digest (topics.results.result_digest)."""
        self.matched += 1
        self.digest = add_digests(self.digest, share)

    def skip_expired(self, begin: int) -> None:
        """The log now begins at `begin`: what lies before it is a gap. Raises TooManyGaps."""
        end = min(begin, self.stop)
        if end <= self.position:
            return
        place = len(self.gaps) - (self.stop != self.end)
        last = self.gaps[place - 1] if place else None
        if last is not None and last.end == self.position:
            self.gaps[place - 1] = Gap(start=last.start, end=end, reason="expired")
        elif len(self.gaps) == MAX_GAPS:
            raise TooManyGaps(
                f"{self.topic}[{self.partition}] expires faster than this replay reads it ({MAX_GAPS} gaps so far): "
                "narrow its range, or raise its rate or the topic's retention."
            )
        else:
            self.gaps.insert(place, Gap(start=self.position, end=end, reason="expired"))
        self.position = end

    def coverage(self) -> PartitionCoverage:
        return PartitionCoverage(
            topic=self.topic,
            partition=self.partition,
            start=self.start,
            end=self.end,
            position=max(min(self.position, self.end), self.start),
            read=self.read,
            matched=self.matched,
            undecodable=self.undecodable,
            head=self.head,
            gaps=tuple(self.gaps),
        )

    def encode(self) -> str:
        """All but topic, partition and position, in at most 2 KiB: what a committed offset's metadata can hold."""
        said = [_FORMAT, self.start, self.end, self.read, self.matched, self.undecodable, digest_hex(self.digest)]
        gaps = [[gap.start, gap.end, gap.reason] for gap in self.gaps]
        return orjson.dumps([*said, self.head, gaps]).decode()

    @classmethod
    def decode(cls, topic: str, partition: int, position: int, said: str) -> Self:
        """What `encode` wrote. Raises ValueError for anything else."""
        form, start, end, read, matched, undecodable, digest, head, gaps = orjson.loads(said)
        if form != _FORMAT:
            raise ValueError(f"a checkpoint of format {form}; this version reads {_FORMAT}")
        return cls(
            topic=topic,
            partition=partition,
            start=start,
            end=end,
            position=position,
            head=head,
            gaps=[Gap(start=first, end=last, reason=reason) for first, last, reason in gaps],
            read=read,
            matched=matched,
            undecodable=undecodable,
            digest=int(digest, 16),
        )


def resolve(asked: Range, topic: str, partition: int, facts: LogFacts) -> Stretch | None:
    """The stretch of one partition that a range means, given the log as it is. None: the range leaves it out."""
    if isinstance(asked, BetweenOffsets):
        return _between_offsets(asked, topic, partition, facts)
    end = facts.end if asked.end is None or facts.at_end is None else min(facts.at_end, facts.end)
    if isinstance(asked, BetweenTimes):
        start = min(facts.end if facts.at_start is None else facts.at_start, facts.end)
        head: Head = "unknown" if start == facts.begin > 0 else "complete"
    else:
        start, head = facts.begin, "truncated_head" if facts.begin > 0 else "complete"
    return Stretch(topic, partition, start, max(start, end), start, head)


def _between_offsets(asked: BetweenOffsets, topic: str, partition: int, facts: LogFacts) -> Stretch | None:
    for part in asked.partitions:
        if (part.topic, part.partition) == (topic, partition):
            end = max(part.start, facts.end if part.end is None else part.end)
            stretch = Stretch(topic, partition, part.start, end, part.start)
            if end > (written := max(part.start, facts.end)):
                stretch.gaps.append(Gap(start=written, end=end, reason="not_written"))
            stretch.skip_expired(facts.begin)
            return stretch
    return None


def times_ms(asked: Range) -> tuple[int | None, int | None]:
    """The times whose offsets `resolve` needs, in milliseconds (rounded up: the log's clock has no finer ones)."""
    if isinstance(asked, BetweenOffsets):
        return None, None
    start = -(-micros(asked.start) // 1000) if isinstance(asked, BetweenTimes) else None
    return start, -(-micros(asked.end) // 1000) if asked.end is not None else None


def coverage(stretches: Iterable[Stretch]) -> Coverage:
    """What was asked for against what was found, over all partitions of a replay."""
    parts = tuple(stretch.coverage() for stretch in stretches)
    whole = all(
        part.head == "complete" and not part.gaps and not part.undecodable and part.position >= part.end
        for part in parts
    )
    return Coverage(complete=whole, partitions=parts)
