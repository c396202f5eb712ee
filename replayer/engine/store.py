"""Faust's RocksDB store for whole batches: rows and changelog offset in one write; unusable state is rebuilt."""

from __future__ import annotations

import gc
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import rocksdict
import structlog
from faust.stores.rocksdb import Store
from faust.types import TP

from replayer.core.errors import ReplayerError
from replayer.engine.batch import Batch, pairs, since
from replayer.engine.rows import is_damage

if TYPE_CHECKING:
    from replayer.engine.engine import Engine

log = structlog.get_logger(__name__)

#: When this state was last known to follow its changelog; never in the changelog itself.
ALIVE_KEY = b"__replayer\0alive"

#: RocksDB's words for a write that would have to wait; how long it is tried again, and how often.
_STALLS = "Write stall"
_STALL_S = 30.0
PAUSE_S = 0.01

#: RocksDB's words for a database that is open already: in another process | in this one.
_IN_USE = re.compile("While lock file|lock hold by current process")


class StateUnusable(ReplayerError):
    """Local state that cannot be opened and that rebuilding would not mend; the text says what to do."""


class BatchStore(Store):
    """One database for each partition of a table.

    Promises: a write of rows carries its changelog offset in the same RocksDB batch; state that is damaged, outdated
    (older than the changelog keeps tombstones) or ahead of its changelog is set aside and rebuilt, never served.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._flushes: dict[int, float] = {}  # when each partition is to be flushed next, monotonic

    @property
    def engine(self) -> Engine:
        return cast("Engine", self.app.engine)  # type: ignore[attr-defined] # EngineApp

    # -- opening

    def _open_for_partition(self, partition: int) -> Any:
        path = Path(self.partition_path(partition))
        try:
            db = self._open(path)
        except Exception as exc:
            if not is_damage(str(exc)):
                raise _unopened(path, exc) from exc
            self.set_aside(partition, "damaged")
            db = self._open_anew(path)
        alive = db.get(ALIVE_KEY)
        now = int(time.time() * 1000)
        if alive is not None and now - int.from_bytes(alive, "big") > self.engine.config.delete_retention_ms:
            # The changelog may have dropped tombstones of rows this copy still holds: what was erased must not return.
            db.close()
            log.warning("local state is older than the changelog keeps tombstones; rebuilding", partition=partition)
            self.set_aside(partition, "outdated")
            db = self._open_anew(path)
        return db

    def _open_anew(self, path: Path) -> Any:
        """What was here is set aside; whatever goes wrong now is the disk's doing."""
        try:
            return self._open(path)
        except Exception as exc:
            raise _unopened(path, exc) from exc

    def _open(self, path: Path) -> Any:
        """Open, and read the store's own keys: damage to their block shows at the first read only."""
        path.parent.mkdir(parents=True, exist_ok=True)
        db = rocksdict.Rdict(str(path), options=self.engine.memory.options())
        db.set_write_options(self.engine.memory.writes())
        try:
            db.get([ALIVE_KEY, self.offset_key])
        except BaseException:
            db.close()
            raise
        return db

    def set_aside(self, partition: int, why: str) -> None:
        """Move a partition's state out of the way (one copy is kept for a look); recovery rebuilds it."""
        db = self._dbs.pop(partition, None)
        if db is not None:
            db.close()
        path = Path(self.partition_path(partition))
        if not path.exists():
            return
        aside = path.with_name(f"{path.name}.{why}")
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        if why == "outdated":
            shutil.rmtree(aside)  # may hold rows that were erased since: nothing to keep for a look
        self.engine.metrics.state_set_aside(self.table.name, why)
        log.warning(
            "local state set aside; it is rebuilt from the changelog",
            table=self.table.name,
            partition=partition,
            why=why,
        )

    # -- writing

    def writing(
        self, partition: int, rows: Sequence[tuple[bytes, bytes | None]], changelog_offset: int
    ) -> Iterator[None]:
        """Rows whose changelog records are durable, with the offset of the last of them, in one atomic write.

        At each `yield` RocksDB has no room for it yet: let others have their turn for PAUSE_S. Only into a database
        that is open: a new one would have this step for all of its rows. Raises StateUnusable.
        """
        if partition not in self._dbs:
            raise StateUnusable(f"The database {self.partition_path(partition)} was closed under its writer.")
        return self._writing(partition, lambda: self._batch(rows, changelog_offset))

    def _batch(self, rows: Iterable[tuple[bytes, bytes | None]], changelog_offset: int) -> Any:
        batch = rocksdict.WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        for key, value in rows:
            if value is None:
                delete(key)
            else:
                put(key, value)
        put(self.offset_key, str(changelog_offset).encode())
        put(ALIVE_KEY, _now())
        return batch

    def _writing(self, partition: int, batch: Callable[[], Any]) -> Iterator[None]:
        """`batch` makes it anew: one that was refused is used up. A worker that ends waits for no room."""
        db, deadline = self._db_for_partition(partition), time.monotonic() + _STALL_S
        while (refused := _refused(db, batch())) is not None:
            if _STALLS not in str(refused) or time.monotonic() > deadline or self.engine.failure is not None:
                raise self._unwritten(partition, refused) from refused
            yield  # flushes and compactions are behind: RocksDB itself would have us wait here

    def _unwritten(self, partition: int, refused: Exception) -> StateUnusable:
        text, path = str(refused), self.partition_path(partition)
        if is_damage(text):  # found by a compaction, perhaps: it would stand in the way of every write to come
            self.set_aside(partition, "damaged")
            advice = "it was set aside; start the worker again: it is rebuilt from its changelog"
        else:
            free = shutil.disk_usage(path).free >> 20
            advice = f"look at the disk ({free} MiB are free), then start the worker again"
        return StateUnusable(f"The database {path} cannot be written ({text}): {advice}.")

    def touch(self, partitions: Set[int]) -> None:
        """Note that these partitions still follow their changelogs (idle ones are not written otherwise)."""
        for partition, db in list(self._dbs.items()):
            if partition in partitions:
                patiently(self._writing(partition, _alive))
                self._flush_now_and_then(partition, db)

    def _flush_now_and_then(self, partition: int, db: Any) -> None:
        """What is written rarely stays in memory for days; killed then, it would count as outdated."""
        now = time.monotonic()
        due = self._flushes.setdefault(partition, now + self._flush_every_s)
        if now >= due:
            db.flush(wait=False)
            self._flushes[partition] = now + self._flush_every_s

    @property
    def _flush_every_s(self) -> float:
        return min(600.0, self.engine.config.delete_retention_ms / 4000)

    def apply(self, batch: Batch) -> bool:
        """Recovery and standbys: store what the changelog brought, unless it is stored already.

        False, and nothing stored, where the batch begins beyond the next offset: something between was not delivered.
        """
        db = self._db_for_partition(batch.partition)
        applied = _offset(db.get(self.offset_key))
        if batch.after - 1 <= applied:
            return True
        if batch.before > applied + 1:
            return False
        rows = list(pairs(since(batch.records, applied + 1)))
        implied = self.engine.specs[self.table.name].implied
        stored = rows if implied is None else [*implied(rows), *rows]
        patiently(self._writing(batch.partition, lambda: self._batch(stored, batch.after - 1)))
        self.engine.metrics.recovered(self.table.name, len(rows))
        return True

    def apply_changelog_batch(
        self, batch: Iterable[Any], to_key: Callable[[Any], Any], to_value: Callable[[Any], Any]
    ) -> None:
        """Nothing: what Faust's recovery collected has been applied on arrival (`replayer.engine.recovery`)."""

    def applied(self, partition: int) -> int:
        """The changelog offset up to which this partition's rows are stored; -1 for none."""
        return _offset(self._db_for_partition(partition).get(self.offset_key))

    # -- closing

    def revoke_partitions(self, table: Any, tps: set[TP]) -> None:
        for tp in tps:
            if tp.topic in table.changelog_topic.topics:
                db = self._dbs.pop(tp.partition, None)
                if db is not None:
                    self._close(tp.partition, db)
        gc.collect()

    async def stop(self) -> None:
        for partition, db in self._dbs.items():
            self._close(partition, db)
        self._dbs.clear()
        gc.collect()

    def _close(self, partition: int, db: Any) -> None:
        """Closing flushes. Where the disk does not take it nothing is lost, for the changelog has it: the others are
        closed all the same, and the worker ends.
        """
        try:
            db.close()
        except Exception as exc:
            if type(exc) is not Exception:  # not RocksDB's: rocksdict raises nothing narrower
                raise
            self.engine.fail(
                f"The database {self.partition_path(partition)} cannot be closed ({exc}): look at the disk, then start "
                "the worker again.",
                exc,
            )

    def open_partition(self, partition: int) -> Any | None:
        """The database if it is open here; never opens one."""
        return self._dbs.get(partition)


def patiently(writing: Iterator[None]) -> None:
    """Write, for whoever has nobody to think of meanwhile."""
    for _ in writing:
        time.sleep(PAUSE_S)


def _now() -> bytes:
    return int(time.time() * 1000).to_bytes(8, "big")


def _alive() -> Any:
    batch = rocksdict.WriteBatch(raw_mode=True)
    batch.put(ALIVE_KEY, _now())
    return batch


def _refused(db: Any, batch: Any) -> Exception | None:
    """What RocksDB has against this write, if anything."""
    try:
        db.write(batch)
    except Exception as exc:
        if type(exc) is not Exception:  # not RocksDB's: rocksdict raises nothing narrower
            raise
        return exc
    return None


def _unopened(path: Path, exc: Exception) -> StateUnusable:
    if _IN_USE.search(str(exc)):
        return StateUnusable(
            f"The database {path} is in use by another process: give every worker a data directory of its own "
            "(REPLAYER_DATA_DIR)."
        )
    return StateUnusable(
        f"The database {path} cannot be opened ({exc}): look at the disk, then start the worker again."
    )


def _offset(stored: bytes | None) -> int:
    return int(stored) if stored is not None else -1
