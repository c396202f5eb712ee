"""Measured programs: their own pid, an ending, and none that outlives the benchmark."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import process
from benchmarks.process import ProgramFailed, running
from benchmarks.watch import resident_bytes

SLEEPER = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)")
STUBBORN = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
)
BENCHMARK = """
import asyncio, sys
from pathlib import Path
from benchmarks import process
from benchmarks.process import running

async def main():
    async with running(sys.argv[2:], Path(sys.argv[1])) as program:
        print(program.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def gone(pid: int) -> bool:
    """Not there, or no more than a zombie that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("program", [SLEEPER, STUBBORN], ids=["sleeper", "stubborn"])
def test_a_program_dies_with_the_benchmark(number: signal.Signals, program: tuple[str, ...], tmp_path: Path) -> None:
    command = [sys.executable, "-c", BENCHMARK, str(tmp_path / "log"), *program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.getcwd()}) as benchmark:
        assert benchmark.stdout is not None
        pid = int(benchmark.stdout.readline())
        assert until(lambda: resident_bytes(pid) > 0)  # 0 for a moment while it begins
        benchmark.send_signal(number)
        benchmark.wait(10)
    assert until(lambda: gone(pid))


async def test_the_pid_is_the_programs_and_its_output_is_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    says_its_pid = (sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    async with running(says_its_pid, log) as program:
        assert until(lambda: log.read_text().endswith("\n"))
        assert int(log.read_text()) == program.pid
        assert not program.ended
    assert program.ended
    assert gone(program.pid)


async def test_one_that_ended_by_itself_is_told_with_the_end_of_its_output(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match="ended by itself:\nout of luck"):
        async with running((sys.executable, "-c", "raise SystemExit('out of luck')"), tmp_path / "log") as program:
            until(lambda: resident_bytes(program.pid) < 0)


async def test_one_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match="could not be started"):
        async with running(("/nowhere/at-all",), tmp_path / "log"):
            pass


async def test_what_is_preloaded_is_the_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "preload", lambda: {"MALLOC_CONF": "stats_print:false"})
    log = tmp_path / "log"
    says = (sys.executable, "-c", "import os, time; print(os.environ['MALLOC_CONF'], flush=True); time.sleep(60)")
    async with running(says, log):
        assert until(lambda: log.read_text() == "stats_print:false\n")
