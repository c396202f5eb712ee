"""Runs one measured program in a process of its own and ends it, whatever happens, also to us."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.allocator import preload
from replayer.kafka import watchdog
from replayer.variables import inherited

ROOT = Path(__file__).resolve().parent.parent
_STOP_S = 30.0
_TAIL_LINES = 15


class ProgramFailed(Exception):
    """A measured program ended by itself; the text has the end of its output."""


def tail(log: Path) -> str:
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-_TAIL_LINES:]) or "(no output)"


@dataclass(frozen=True, slots=True)
class Program:
    """A running program. `pid` is its own, for /proc; the watchdog above it has another."""

    pid: int
    _watchdog: asyncio.subprocess.Process

    @property
    def ended(self) -> bool:
        return self._watchdog.returncode is not None

    async def stop(self) -> None:
        """SIGTERM, SIGKILL 30 s later; returns when it is gone."""
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._watchdog.wait(), _STOP_S)
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self._watchdog.wait()

    def _signal(self, number: signal.Signals) -> None:
        if not self.ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


@contextlib.asynccontextmanager
async def running(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Program]:
    """The program, from the root of the repository, its output in `log`; stopped at the end.

    It does not outlive this process, not even its kill -9. Raises ProgramFailed where it ends by itself.
    """
    with log.open("wb") as output:
        watching = await asyncio.create_subprocess_exec(
            *watchdog.guarded(*command),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=output,
            env={**inherited(), **preload(), "PYTHONPATH": str(ROOT), **(environment or {})},
            start_new_session=True,
        )
    assert watching.stdin is not None
    assert watching.stdout is not None
    try:
        pid = int(await watching.stdout.readline() or 0)
        if not pid:
            raise ProgramFailed(f"{' '.join(command[:3])} could not be started:\n{tail(log)}")
        program = Program(pid, watching)
        try:
            yield program
        except (FileNotFoundError, ProcessLookupError) as gone:  # its /proc entry vanished under a poll
            raise ProgramFailed(f"{' '.join(command[:3])} ended by itself:\n{tail(log)}") from gone
        finally:
            await program.stop()
    finally:
        watching.stdin.close()  # the watchdog kills what is left
        await watching.wait()


def python_of(environment: str) -> str:
    """The interpreter of `product` (the running one) or `peers` (benchmarks/.venv-peers)."""
    if environment == "product":
        return sys.executable
    found = ROOT / "benchmarks" / ".venv-peers" / "bin" / "python"
    if not found.exists():
        raise SystemExit(f"{found.relative_to(ROOT)} is missing: run `make peers` (or `make bench`) first.")
    return str(found)
