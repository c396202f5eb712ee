"""`python -m benchmarks.profile_fold`: where one event's processor time goes, stage by stage, without Kafka.

Stages in µs of CPU time per event: decode (validated, with canonical content), the fold itself, its reads from RocksDB,
appending its rows to record batches as the lane's producer does, and the RocksDB write. Then cProfile's view of the
fold over rows in memory. Not in it: fetching, the event loop, sending, the transaction, RocksDB's own threads.
`--folds` compares Python's fold with the native one instead.
"""

from __future__ import annotations

import cProfile
import gc
import pstats
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import rocksdict
from aiokafka.producer.message_accumulator import BatchBuilder

from benchmarks.workload import workload
from replayer.core.outcome import Rows
from replayer.core.sizes import Size, topic
from replayer.core.timeline import TimelineFold
from replayer.engine.memory import RocksMemory
from replayer.engine.rows import RocksRows
from replayer.native.fold import NativeFold
from topics.catalogue import DEFAULT_MAX_RECORD_BYTES
from topics.codec import Undecodable, read

Written = list[tuple[bytes, bytes | None]]
_CHANGELOG_BATCH_BYTES = 900_000


class MemoryRows:
    """A table in a dict: what the fold costs by itself."""

    def __init__(self) -> None:
        self.stored: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.stored.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.stored.get(key) for key in keys]

    def scan(self, prefix: bytes, start: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        for key in sorted(self.stored):
            if key.startswith(prefix) and (start is None or key >= start):
                yield key, self.stored[key]

    def write(self, rows: Written) -> None:
        for key, value in rows:
            if value is None:
                self.stored.pop(key, None)
            else:
                self.stored[key] = value


class SourceRecord:
    """What the fold reads of aiokafka's ConsumerRecord."""

    __slots__ = ("headers", "key", "offset", "partition", "timestamp", "topic", "value")

    def __init__(self, name: str, offset: int, key: bytes, value: bytes) -> None:
        self.topic, self.partition, self.offset, self.timestamp = name, 0, offset, 1_760_000_000_000 + offset
        self.key, self.value, self.headers = key, value, ()


def batches(size: Size, count: int, batch: int) -> list[list[SourceRecord]]:
    """Batches as a lane sees them: the events of one of four partitions, i.e. a quarter of the workflows in turn."""
    told = iter([SourceRecord(topic(size), n, k, v) for n, (k, v) in enumerate(workload(size, count, active=250))])
    return [chunk for chunk in iter(lambda: list(islice(told, batch)), [])]


def timed(work: Callable[[], Any], events: int) -> float:
    """CPU microseconds of this thread per event."""
    gc.collect()
    began = time.thread_time()
    work()
    return (time.thread_time() - began) * 1e6 / events


def folded(
    fold: TimelineFold | NativeFold, rows: Rows, write: Callable[[Written], None], told: list[list[SourceRecord]]
) -> list[Written]:
    out = []
    for records in told:
        answer = fold.fold(rows, records, 0, 1_760_000_000_000)
        write(answer.stored)
        out.append(answer.rows)
    return out


def append(written: list[Written]) -> None:
    """Rows into Kafka record batches, as replayer.engine.producer does it."""
    for rows in written:
        batch = _builder()
        for key, value in rows:
            if batch.append(key=key, value=value, timestamp=None) is None:
                batch.close()
                batch = _builder()
                batch.append(key=key, value=value, timestamp=None)
        batch.close()


def _builder() -> Any:
    return BatchBuilder(_CHANGELOG_BATCH_BYTES, 0)


class RocksTable:
    """One partition's database, read and written as the engine does it, with the time that takes."""

    def __init__(self, path: Path) -> None:
        self.db = rocksdict.Rdict(str(path), options=RocksMemory(256 << 20).options())
        self.db.set_write_options(RocksMemory.writes())
        self._rows = RocksRows(self.db)
        self.reading_s = self.writing_s = 0.0

    def get(self, key: bytes) -> bytes | None:
        return self._rows.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        began = time.thread_time()
        found = self._rows.get_many(keys)
        self.reading_s += time.thread_time() - began
        return found

    def scan(self, prefix: bytes, start: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        return self._rows.scan(prefix, start)

    def write(self, rows: Written) -> None:
        began = time.thread_time()
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in rows:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        self.db.write(batch)
        self.writing_s += time.thread_time() - began


def stages(size: Size, count: int, batch: int) -> dict[str, float]:
    """µs per event of each stage, and what the fold makes per event."""
    told = batches(size, count, batch)
    values = [record.value for records in told for record in records]
    if any(isinstance(read(value), Undecodable) for value in values[:100]):
        raise SystemExit("the workload holds what is no event")
    fold = TimelineFold(partition_of=lambda _: 0, max_record_bytes=DEFAULT_MAX_RECORD_BYTES)
    kept: list[list[Written]] = []
    with tempfile.TemporaryDirectory(prefix="profile-fold-") as directory:
        table = RocksTable(Path(directory) / "db")
        whole = timed(lambda: kept.append(folded(fold, table, table.write, told)), count)
        reading, writing = table.reading_s * 1e6 / count, table.writing_s * 1e6 / count
        table.db.close()
    decoding = timed(lambda: [read(value) for value in values], count)
    return {
        "decode and validate": decoding,
        "fold": whole - decoding - reading - writing,
        "RocksDB reads": reading,
        "append to record batches": timed(lambda: append(kept[0]), count),
        "RocksDB write": writing,
        "rows": sum(map(len, kept[0])) / count,
        "row bytes": sum(len(key) + len(value or b"") for rows in kept[0] for key, value in rows) / count,
    }


def best(size: Size, count: int, batch: int, repeat: int) -> dict[str, float]:
    """The least of each stage over `repeat` runs: what else the machine does only adds."""
    runs = [stages(size, count, batch) for _ in range(repeat)]
    return {name: min(run[name] for run in runs) for name in runs[0]}


def folds(size: Size, count: int, batch: int) -> dict[str, float]:
    """µs per event of either fold, decoding included, its reads from RocksDB and the writes not."""
    told = batches(size, count, batch)
    arguments: dict[str, Any] = {"partition_of": lambda _: 0, "max_record_bytes": DEFAULT_MAX_RECORD_BYTES}
    found, rows = {}, []
    for name, fold in (("Python", TimelineFold(**arguments)), ("native", NativeFold(**arguments))):
        with tempfile.TemporaryDirectory(prefix="profile-fold-") as directory:
            table = RocksTable(Path(directory) / "db")
            spent = timed(lambda fold=fold, table=table: rows.append(folded(fold, table, table.write, told)), count)  # type: ignore[misc] # defaults
            found[name] = spent - (table.reading_s + table.writing_s) * 1e6 / count
            table.db.close()
    if rows[0] != rows[1]:
        raise SystemExit("the two folds make different rows")
    return found


def main(
    *,
    events: int = 50_000,
    batch: int = 4000,
    repeat: int = 3,
    lines: int = 25,
    folds_only: Annotated[bool, cyclopts.Parameter("--folds")] = False,
) -> None:
    """Print the stages for both sizes and the profile of the fold for 1-KB events."""
    sizes: tuple[Size, ...] = ("1KB", "200B")
    if folds_only:
        for size in sizes:
            runs = [folds(size, events, batch) for _ in range(repeat)]
            least = {name: min(run[name] for run in runs) for name in runs[0]}
            print(f"{size}: " + ", ".join(f"{name} {number:.2f} µs an event" for name, number in least.items()))
        return
    for size in sizes:
        print(f"{size}, batches of {batch}, per event (µs, best of {repeat}):")
        for name, number in best(size, events, batch, repeat).items():
            print(f"  {name:32} {number:8.2f}")
    told = batches("1KB", events, batch)
    fold = TimelineFold(partition_of=lambda _: 0, max_record_bytes=DEFAULT_MAX_RECORD_BYTES)
    memory = MemoryRows()
    profile = cProfile.Profile()
    profile.enable()
    folded(fold, memory, memory.write, told)
    profile.disable()
    pstats.Stats(profile).sort_stats("tottime").print_stats(lines)


if __name__ == "__main__":
    cyclopts.run(main)
