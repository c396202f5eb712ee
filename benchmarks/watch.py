"""Watches a contender from outside: its group's committed offsets, its processor time, its memory."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from benchmarks.cluster import Cluster
from benchmarks.rate import Sample

POLL_S = 0.1
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * _PAGE


def busy_seconds() -> float:
    """Processor time all of the machine has spent so far, its own waiting and stolen time left out."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text("ascii").splitlines()[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / _TICKS


class Shares:
    """Who spends the machine's processors from here on: the named processes, which must live, ourselves, the others."""

    def __init__(self, **pids: int) -> None:
        self._pids = pids
        self._at, self._before = time.monotonic(), self._spent()

    def cores(self) -> dict[str, float]:
        """Cores each has kept busy since: by name, `benchmark` (ourselves), `others` (0 on an idle one)."""
        now, seconds = self._spent(), max(1e-9, time.monotonic() - self._at)
        return {name: round(max(0.0, now[name] - self._before[name]) / seconds, 2) for name in now}

    def _spent(self) -> dict[str, float]:
        known = {name: cpu_seconds(pid) for name, pid in self._pids.items()} | {"benchmark": sum(os.times()[:2])}
        return known | {"others": busy_seconds() - sum(known.values())}


class Watch:
    """The committed offsets of one group on one topic, and who spends the machine's processor time meanwhile."""

    def __init__(self, broker: Cluster, group: str, topic: str, partitions: int, poll_s: float = POLL_S) -> None:
        self._broker_pid, self._admin, self._group = broker.pid, broker.admin, group
        self._tps = [TopicPartition(topic, partition) for partition in range(partitions)]
        self._coordinator: int | None = None
        self._poll_s = poll_s
        self.positions: dict[TopicPartition, int] = {}  # committed offsets as of the last poll
        self.samples: list[Sample] = []

    async def committed(self) -> int:
        """The offsets of all partitions added up; 0 while the broker knows of none."""
        try:
            if self._coordinator is None:
                self._coordinator = await self._admin.find_coordinator(self._group)
            found = await self._admin.list_consumer_group_offsets(self._group, self._coordinator, self._tps)
        except KafkaError:
            self._coordinator = None
            return 0
        self.positions = {tp: max(0, position.offset) for tp, position in found.items()}
        return sum(self.positions.values())

    async def follow(self, pid: int, enough: Callable[[list[Sample]], bool]) -> None:
        """Poll until `enough` says so. Raises FileNotFoundError where the process is gone."""
        loop = asyncio.get_running_loop()
        while not enough(self.samples):
            began = loop.time()
            committed = await self.committed()
            # The answer was true somewhere between question and answer; the later instant is the safe one.
            contender, broker, own = cpu_seconds(pid), cpu_seconds(self._broker_pid), sum(os.times()[:2])
            strangers = busy_seconds() - contender - broker - own
            self.samples.append(Sample(loop.time(), committed, contender, resident_bytes(pid), broker, strangers))
            await asyncio.sleep(max(0.0, self._poll_s - (loop.time() - began)))
