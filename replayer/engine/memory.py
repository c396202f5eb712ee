"""One memory budget for all RocksDB databases of the process."""

from __future__ import annotations

from typing import Any

import rocksdict

_SMALLEST = 16 << 20

#: Rows are rewritten a few times on their way down, and each time they were compressed: with 10⁶ events in a table that
#: was a third of a worker's processor time, and grew. What is young is rewritten less often and as it is; where most of
#: it ends up it is compressed.
_YOUNG_FILES, _YOUNG_BYTES = 8, 512 << 20
_COMPRESSION = (*["none"] * 2, *["lz4"] * 5)

#: What a memtable grows by. In blocks of RocksDB's own size, up to 1 MiB, it left the heap full of holes into which a
#: fetch or a step did not fit: a worker grew by 2.3 to 2.9 MB per 10⁶ events, by 0.7 ± 0.5 with these.
_BLOCK = 64 << 10


class RocksMemory:
    """Block cache and memtables of every partition share `budget` bytes; memtables are charged to the cache.

    RocksDB's own default here would be 2 GiB of block cache for each partition. Index and filter blocks live in the
    cache too, so the budget is the whole of it. Raises ValueError below 16 MiB.
    """

    def __init__(self, budget: int) -> None:
        if budget < _SMALLEST:
            raise ValueError(
                f"RocksDB needs at least {_SMALLEST >> 20} MiB; REPLAYER_ROCKSDB_MEMORY_MB gives {budget >> 20}."
            )
        self._cache = rocksdict.Cache(budget)
        self._memtables = rocksdict.WriteBufferManager.new_write_buffer_manager_with_cache(
            budget // 2, False, self._cache
        )
        self._write_buffer = max(4 << 20, min(64 << 20, budget // 8))

    def options(self) -> Any:
        """Fresh options for one database within the shared budget."""
        table = rocksdict.BlockBasedOptions()
        table.set_block_cache(self._cache)
        table.set_cache_index_and_filter_blocks(True)
        table.set_pin_l0_filter_and_index_blocks_in_cache(True)
        table.set_bloom_filter(10, block_based=False)
        table.set_format_version(5)
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_max_open_files(512)
        options.set_write_buffer_manager(self._memtables)
        options.set_write_buffer_size(self._write_buffer)
        options.set_max_write_buffer_number(3)
        options.set_arena_block_size(_BLOCK)
        options.set_block_based_table_factory(table)
        options.set_level_zero_file_num_compaction_trigger(_YOUNG_FILES)
        options.set_max_bytes_for_level_base(_YOUNG_BYTES)
        options.set_num_levels(len(_COMPRESSION))
        options.set_compression_per_level([getattr(rocksdict.DBCompressionType, name)() for name in _COMPRESSION])
        return options

    @staticmethod
    def writes() -> Any:
        """How rows are written: without a write-ahead log, for the changelog is one.

        After a kill a database is as it was at its last flush, rows and changelog offset alike, and recovery reads on
        from there; closing flushes. A write that would have to wait is refused instead: on a full disk RocksDB waits
        for room, and with it would the worker, for ever.
        """
        options: Any = rocksdict.WriteOptions()  # its stubs take these fields for methods
        options.disable_wal = True
        options.no_slowdown = True
        return options

    @property
    def used(self) -> int:
        """Bytes in cache and memtables now."""
        return int(self._cache.get_usage())
