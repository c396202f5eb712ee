"""Faust's RocksDB store for whole batches: rows and changelog offset in one write, damaged or outdated state rebuilt."""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rocksdict
import structlog
from faust.stores.rocksdb import Store
from faust.types import TP

if TYPE_CHECKING:
    from replayer.engine.engine import Engine

log = structlog.get_logger(__name__)

#: When this state was last known to follow its changelog; never in the changelog itself.
ALIVE_KEY = b"__replayer\0alive"


class StateUnusable(Exception):
    """Local state that cannot be opened and that rebuilding would not mend; the text says what to do."""


class BatchStore(Store):  # type: ignore[misc]
    """One database for each partition of a table.

    Promises: a write of rows carries its changelog offset in the same RocksDB batch; state that is damaged, outdated
    (older than the changelog keeps tombstones) or ahead of its changelog is set aside and rebuilt, never served.
    Faust's recovery swallows a store's exception, so a failing write ends the worker from here.
    """

    @property
    def engine(self) -> Engine:
        engine: Engine = self.app.engine
        return engine

    # -- opening

    def _open_for_partition(self, partition: int) -> Any:
        path = Path(self.partition_path(partition))
        try:
            db = self._open(path)
        except Exception as exc:
            # rocksdict raises bare Exception; only its text tells a damaged database from one that is in use.
            text = str(exc)
            if "lock" in text.lower():
                raise StateUnusable(
                    f"The database {path} is in use by another process: give every worker a data directory of its own "
                    "(REPLAYER_DATA_DIR)."
                ) from exc
            if not _damaged(text):
                raise StateUnusable(f"The database {path} cannot be opened: {text}") from exc
            self.set_aside(partition, "damaged")
            db = self._open(path)
        alive = db.get(ALIVE_KEY)
        now = int(time.time() * 1000)
        if alive is not None and now - int.from_bytes(alive, "big") > self.engine.config.delete_retention_ms:
            # The changelog may have dropped tombstones of rows this copy still holds: what was erased must not return.
            db.close()
            log.warning("local state is older than the changelog keeps tombstones; rebuilding", partition=partition)
            self.set_aside(partition, "outdated")
            db = self._open(path)
        return db

    def _open(self, path: Path) -> Any:
        path.parent.mkdir(parents=True, exist_ok=True)
        return rocksdict.Rdict(str(path), options=self.engine.memory.options())

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

    def write(self, partition: int, rows: Sequence[tuple[bytes, bytes | None]], changelog_offset: int) -> None:
        """Rows whose changelog records are durable, with the offset of the last of them, in one atomic write."""
        batch = rocksdict.WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        for key, value in rows:
            if value is None:
                delete(key)
            else:
                put(key, value)
        self._finish(batch, changelog_offset)
        self._db_for_partition(partition).write(batch)

    def _finish(self, batch: Any, changelog_offset: int) -> None:
        batch.put(self.offset_key, str(changelog_offset).encode())
        batch.put(ALIVE_KEY, int(time.time() * 1000).to_bytes(8, "big"))

    def touch(self) -> None:
        """Note that the open partitions still follow their changelogs (idle ones are not written otherwise)."""
        now = int(time.time() * 1000).to_bytes(8, "big")
        for db in list(self._dbs.values()):
            db.put(ALIVE_KEY, now)

    def apply_changelog_batch(
        self, batch: Iterable[Any], to_key: Callable[[Any], Any], to_value: Callable[[Any], Any]
    ) -> None:
        """Recovery and standbys: what the changelog brought, unless it is applied already."""
        try:
            for event in batch:
                self._apply(event.message)
        except Exception as exc:  # Faust would log it and go on with a hole in the table
            self.engine.fail(f"Rows of the changelog could not be stored: {exc}", exc)
            raise

    def _apply(self, message: Any) -> None:
        db = self._db_for_partition(message.partition)
        stored = db.get(self.offset_key)
        applied = int(stored) if stored is not None else -1
        if message.offset <= applied:
            return
        batch = rocksdict.WriteBatch(raw_mode=True)
        count = 0
        for record in message.value.records:
            if record.offset <= applied:
                continue
            count += 1
            if record.value is None:
                batch.delete(record.key)
            else:
                batch.put(record.key, record.value)
        self._finish(batch, message.offset)
        db.write(batch)
        self.engine.metrics.recovered(self.table.name, count)

    # -- closing

    def revoke_partitions(self, table: Any, tps: set[TP]) -> None:
        for tp in tps:
            if tp.topic in table.changelog_topic.topics:
                db = self._dbs.pop(tp.partition, None)
                if db is not None:
                    db.close()
        gc.collect()

    async def stop(self) -> None:
        for db in self._dbs.values():
            db.close()
        self._dbs.clear()
        gc.collect()

    def open_partition(self, partition: int) -> Any | None:
        """The database if it is open here; never opens one."""
        return self._dbs.get(partition)


def _damaged(text: str) -> bool:
    return any(
        sign in text for sign in ("Corruption", "corrupt", "checksum mismatch", "MANIFEST", "CURRENT", "No such file")
    )
