"""The demo as `make demo` runs it: what it shows, and that nothing of it stays behind however it ends."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

pytestmark = pytest.mark.broker


class Demo:
    """One run of the demo; all its processes carry a mark in their environment."""

    def __init__(self, directory: Path, **variables: str) -> None:
        self.mark = secrets.token_hex(8)
        self._directory, self._out = directory, directory / "out.txt"
        inherited = {key: text for key, text in os.environ.items() if not key.startswith("REPLAYER_")}
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "replayer.cli", "demo"],
                env={**inherited, "MARK_OF_A_TEST": self.mark, "COLUMNS": "160", "TMPDIR": str(directory), **variables},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._out.read_text("utf-8")

    def processes(self) -> dict[int, str]:
        """Command lines of the processes that carry the mark, by process id."""
        found = {}
        for directory in Path("/proc").iterdir():
            try:
                if (
                    directory.name.isdigit()
                    and f"MARK_OF_A_TEST={self.mark}".encode() in (directory / "environ").read_bytes()
                ):
                    found[int(directory.name)] = (directory / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue  # gone, or not ours
        return found

    def worker(self) -> list[int]:
        """The worker's process id, once there is one."""
        return [
            pid
            for pid, command in self.processes().items()
            if "replayer.cli worker" in command and "watchdog" not in command
        ]

    def log(self, role: str) -> str:
        """What a child has written so far."""
        (file,) = self._directory.glob(f"replayer-demo-*/{role}.log")
        return file.read_text("utf-8")

    def until(self, condition: Callable[[], object], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.said
            time.sleep(0.1)

    def until_up(self) -> None:
        self.until(lambda: "Ctrl-C ends everything" in self.said or self.process.poll() is not None, 300)
        assert self.process.poll() is None, self.said

    def end(self) -> None:
        """For a test that failed: leave nothing behind."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(120)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    started: list[Demo] = []

    def start(**variables: str) -> Demo:
        started.append(Demo(tmp_path, **variables))
        return started[-1]

    yield start
    for one in started:
        one.end()


def test_it_shows_a_timeline_and_an_investigation_and_ends_by_itself(demo: Callable[..., Demo]) -> None:
    run = demo(DEMO_EXIT="1", REPLAYER_BROKER="kafka.example:9092", REPLAYER_WEB_PORT="nonsense")
    assert run.process.wait(400) == 0, run.said
    said = run.said
    assert "leaves the one REPLAYER_BROKER names alone" in said
    published = int(re.search(r"✓ Workload: (\d+) events", said).group(1))
    assert int(re.search(r"✓ Timelines: (\d+) events", said).group(1)) == published > 1000
    for shown in ("Decision 1", "▶ request", "✦ model", "⚖ policy", "support-answer@", "The workflow itself"):
        assert shown in said
    assert "replayer-inv-demo-overrides" in said
    assert re.search(r"state +COMPLETED", said)
    assert re.search(r"COMPLETED: \d+ results, digest [0-9a-f]{16}… verified, coverage complete\.", said)
    assert re.search(r"http://127\.0\.0\.1:\d+/v1/workflows/demo-\d+/timeline\?tenant=", said)
    assert "Ctrl-C" not in said
    assert run.processes() == {}


def test_ctrl_c_ends_it_and_all_it_started(demo: Callable[..., Demo]) -> None:
    run = demo()
    run.until_up()
    every_printed_url_has_something_to_show(run.said)
    running = " ".join(run.processes().values())
    for role in ("kafka.Kafka", "replayer.cli worker", "replayer.cli investigator"):
        assert role in running
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(120) == 0, run.said
    assert "nothing is left behind" in run.said
    assert run.processes() == {}


def every_printed_url_has_something_to_show(said: str) -> None:
    urls = re.findall(r"http://127\.0\.0\.1:\d+/\S*[^\s):]", said)
    assert len(urls) >= 6
    assert any("/v1/workflows?" in url for url in urls)
    for url in urls:
        with urlopen(url, timeout=60) as answer:  # raises unless it is a 200
            body = answer.read()
            assert (answer.status, bool(body)) == (200, True), url
            if answer.headers["Content-Type"].startswith("application/json"):
                assert json.loads(body).get("items") != [], url


def test_a_child_that_dies_is_reported_with_the_end_of_its_log(demo: Callable[..., Demo]) -> None:
    run = demo()
    run.until(lambda: run.worker() and "starting" in run.log("worker"), 120)
    os.kill(run.worker()[0], signal.SIGKILL)
    assert run.process.wait(120) == 1
    assert "The worker has ended by itself" in run.said
    assert "worker.log, ends:" in run.said
    assert "Traceback" not in run.said
    assert run.processes() == {}


def test_killing_it_early_kills_what_it_has_started(demo: Callable[..., Demo]) -> None:
    run = demo()
    run.until(run.worker, 120)
    run.process.send_signal(signal.SIGKILL)
    run.process.wait(120)
    run.until(lambda: run.processes() == {}, 60)
