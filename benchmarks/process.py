"""Runs one measured program in a process of its own and ends it, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_STOP_S = 30.0
_TAIL_LINES = 15


class ProgramFailed(Exception):
    """A measured program ended by itself; the text has the end of its output."""


def _clean() -> dict[str, str]:
    """This process's environment without settings of the product: they are the measurement's to choose."""
    return {name: value for name, value in os.environ.items() if not name.startswith("REPLAYER_")}


def tail(log: Path) -> str:
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-_TAIL_LINES:]) or "(no output)"


@contextlib.asynccontextmanager
async def running(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The program, from the root of the repository, its output in `log`; SIGTERM at the end, SIGKILL 30 s later."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**_clean(), "PYTHONPATH": str(ROOT), **(environment or {})},
            start_new_session=True,
        )
    try:
        yield process
    except (FileNotFoundError, ProcessLookupError) as gone:  # its /proc entry vanished under a poll
        raise ProgramFailed(f"{' '.join(command[:3])} ended by itself:\n{tail(log)}") from gone
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), _STOP_S)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()


def python_of(environment: str) -> str:
    """The interpreter of `product` (the running one) or `peers` (benchmarks/.venv-peers)."""
    if environment == "product":
        return sys.executable
    found = ROOT / "benchmarks" / ".venv-peers" / "bin" / "python"
    if not found.exists():
        raise SystemExit(f"{found.relative_to(ROOT)} is missing: run `make peers` (or `make bench`) first.")
    return str(found)
