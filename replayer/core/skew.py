"""How unevenly a topic's records are dealt out: by partition, and by key in the latest of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from replayer.core.outcome import Record


@dataclass(slots=True)
class Load:
    """Records and their bytes (key and value)."""

    records: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.records += 1
        self.bytes += size


@dataclass(slots=True)
class Skew:
    """What was seen of the latest records: by partition and by (key, partition). None is the key of records without."""

    partitions: dict[tuple[str, int], Load] = field(default_factory=dict)
    keys: dict[tuple[str, int, bytes | None], Load] = field(default_factory=dict)

    def see(self, records: Iterable[Record]) -> None:
        for record in records:
            size = len(record.key or b"") + len(record.value or b"")
            place = record.topic, record.partition
            self.partitions.setdefault(place, Load()).add(size)
            self.keys.setdefault((*place, record.key), Load()).add(size)

    @property
    def records(self) -> int:
        return sum(load.records for load in self.partitions.values())

    def records_of(self, topic: str) -> int:
        return sum(load.records for (name, _), load in self.partitions.items() if name == topic)

    def hottest(self, most: int) -> list[tuple[tuple[str, int, bytes | None], Load]]:
        """Keys by their records, then bytes, most first."""
        return sorted(self.keys.items(), key=lambda item: (-item[1].records, -item[1].bytes, str(item[0])))[:most]


def factor(loads: Iterable[int]) -> float:
    """How many times as much as the average the fullest has: 1 where all have the same, or nothing."""
    found = list(loads)
    return max(found) * len(found) / sum(found) if any(found) else 1.0
