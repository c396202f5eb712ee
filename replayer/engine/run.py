"""Runs the engine's app as a long-lived process: signals, grace, exit code."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import platform
import signal

import faust
import structlog
import uvloop

from replayer.engine.engine import Engine, end_hard_after
from replayer.logs import spoken

log = structlog.get_logger(__name__)


class _Process(faust.Worker):
    """Faust's worker with a deadline on stopping."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        # Logging is set up already (replayer.logs); Faust's spinner and redirection stay out of it.
        super().__init__(engine.app, loop=loop, quiet=True, override_logging=False, redirect_stdouts=False)
        self.spinner = None
        self.engine = engine
        engine.stop_worker = self.end

    def install_signal_handlers(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self.end)

    def end(self) -> None:
        """Stop gracefully; hard when that takes longer than the grace."""
        end_hard_after(self.engine.config.stop_grace_s)
        self._schedule_shutdown(signal.SIGTERM)

    def on_worker_shutdown(self) -> None:
        """Also on the way out of a crash: threads that never end must not hold a process that has nothing to do."""
        end_hard_after(self.engine.config.stop_grace_s)
        super().on_worker_shutdown()


_M_ARENA_MAX = -8  # of mallopt(3)
_ARENAS = 2


def few_arenas() -> bool:
    """Have glibc keep all that is allocated in two arenas; False where it does not. Before threads are started.

    It gives each thread one of its own, and RocksDB's threads leave theirs full of holes: a worker grew by 29 MB
    over 10⁷ events instead of 23, and was 20 MB larger.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS))


def run(engine: Engine) -> int:
    """Blocks until the app ends. 0 after SIGTERM or SIGINT, 1 after a failure (its sentence is in the log)."""
    few_arenas()
    # A batch is thousands of short-lived objects and no cycles; what is alive now stays. Measured on scattered
    # workflows: collecting at Python's default threshold costs a tenth of the fold.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    process = _Process(engine, loop)
    try:
        process.execute_from_commandline()
    except SystemExit as exc:
        if engine.failure is None and exc.code not in (0, None):
            log.critical("the worker ends", reason=_told(process.crash_reason or exc.__context__))
            return 1
    return 1 if engine.failure is not None else 0


def _told(crash: BaseException | None) -> str:
    return spoken(crash) if crash is not None else "it crashed"
