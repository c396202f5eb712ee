"""What every measured process allocates with: jemalloc, as the image has it, where it is installed here."""

from __future__ import annotations

import ctypes.util
from collections.abc import Callable

#: As in the Dockerfile.
CONFIGURATION = "background_thread:true,dirty_decay_ms:1000"


def preload(find: Callable[[str], str | None] = ctypes.util.find_library) -> dict[str, str]:
    """The variables that have a process use it; none of them where there is none."""
    found = find("jemalloc")
    return {"LD_PRELOAD": found, "MALLOC_CONF": CONFIGURATION} if found else {}


def name() -> str:
    return "jemalloc" if preload() else "the system's allocator"
