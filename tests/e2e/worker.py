"""A worker as operations run it: a process of its own, asked over HTTP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from replayer.commands.failures import CommandFailed
from replayer.commands.views import Views
from replayer.kafka.ports import free_port


class Worker:
    """`replayer worker` with settings of its own below a directory, until the block ends by SIGTERM."""

    def __init__(self, directory: Path, **settings: str) -> None:
        port = free_port("127.0.0.1")
        self.settings = {
            "REPLAYER_DATA_DIR": str(directory / "data"),
            "REPLAYER_ARTEFACT_DIR": str(directory / "artefacts"),
            "REPLAYER_WEB_PORT": str(port),
            "REPLAYER_RATE_LIMIT_PER_S": "100000",
            **settings,
        }
        self.views = Views(f"http://127.0.0.1:{port}")
        self._log_file = directory / "worker.log"

    def command(self, *arguments: str) -> str:
        """What a `replayer` command with the same settings answers; it must succeed."""
        done = subprocess.run(
            self._line(*arguments), env=self._environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def __enter__(self) -> Self:
        self.command("topics", "create")
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._line("worker"), env=self._environment(), stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 90
        ready = Views(self.views.url, patience_s=0)
        while True:
            assert self._process.poll() is None, self._log_file.read_text("utf-8")
            try:
                ready.get("readyz")
            except CommandFailed:
                assert time.monotonic() < deadline, self._log_file.read_text("utf-8")
                time.sleep(0.1)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            assert self._process.wait(30) == 0, self._log_file.read_text("utf-8")
        finally:
            self._process.kill()

    def _line(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "replayer.cli", *arguments]

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("REPLAYER_")}
        return {**inherited, **self.settings}
