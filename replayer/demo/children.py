"""Processes the demo starts and never leaves behind, however it ends itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from replayer.commands.failures import CommandFailed
from replayer.kafka import watchdog
from replayer.variables import inherited

_TAIL_LINES = 15


class Child:
    """One `replayer` role as a process of its own, its output in a log file; ends with us, by kill -9 of us, too.

    Args:
        name: what it is called when something is said about it.
        arguments: of the `replayer` command.
        settings: its REPLAYER_ variables; ours are not inherited.
        log_file: gets what it writes.
    """

    def __init__(self, name: str, arguments: Sequence[str], settings: Mapping[str, str], log_file: Path) -> None:
        self.name, self.log_file = name, log_file
        with log_file.open("ab") as log:
            # A session of its own: Ctrl-C reaches the demo, which then ends its children in order.
            self._process = subprocess.Popen(
                watchdog.guarded(sys.executable, "-m", "replayer.cli", *arguments),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env={**inherited(), **settings},
            )
        assert self._process.stdout is not None
        self.pid = int(self._process.stdout.readline() or 0)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def check(self) -> None:
        """Raises CommandFailed, with the end of its log, when it has ended."""
        if not self.running:
            raise CommandFailed(
                f"The {self.name} has ended by itself (exit code {self._process.returncode}). "
                f"Its log, {self.log_file}, ends:\n{self.tail()}"
            )

    def tail(self) -> str:
        """The last lines it wrote."""
        try:
            lines = self.log_file.read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            lines = []
        return "\n".join(lines[-_TAIL_LINES:]) or "(nothing was written)"

    def ask_to_stop(self) -> None:
        """SIGTERM, without waiting: several can stop at the same time."""
        if self.running and self.pid:
            os.kill(self.pid, signal.SIGTERM)

    def stop(self, timeout_s: float = 15.0) -> None:
        """SIGTERM, and kill -9 where that is not enough; returns when it is gone."""
        self.ask_to_stop()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):  # the watchdog kills what is left at the end of file
            if pipe is not None:
                pipe.close()
        self._process.wait(10.0)


def stop_all(children: Sequence[Child]) -> None:
    """All of them at once, then each waited for."""
    for child in children:
        child.ask_to_stop()
    deadline = time.monotonic() + 15.0
    for child in children:
        child.stop(max(0.5, deadline - time.monotonic()))
