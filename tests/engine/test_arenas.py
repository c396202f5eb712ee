"""Threads that allocate share two arenas of glibc's."""

from __future__ import annotations

import platform
import subprocess
import sys

PROGRAM = """
import ctypes, threading
from replayer.engine.run import few_arenas
assert few_arenas() is {few}
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
barrier = threading.Barrier(8)
def work():
    barrier.wait()
    held = [libc.malloc(60_000) for _ in range(50)]
    barrier.wait()
    for one in held:
        libc.free(one)
threads = [threading.Thread(target=work) for _ in range(8)]
[one.start() for one in threads]
[one.join() for one in threads]
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.fdopen.restype = ctypes.c_void_p
libc.fflush.argtypes = [ctypes.c_void_p]
out = libc.fdopen(1, b"w")
libc.malloc_info(0, out)
libc.fflush(out)
"""


def test_a_worker_has_few_arenas():
    glibc = platform.libc_ver()[0] == "glibc"
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(few=glibc)], capture_output=True, text=True, check=True
    ).stdout
    if glibc:
        assert 1 <= said.count("<heap nr=") <= 2, said[:500]
