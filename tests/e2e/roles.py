"""The roles as processes: started, asked and killed as an operator would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from replayer.kafka.ports import free_port

HOST = "127.0.0.1"


def until(condition: Callable[[], bool], what: str, told: Callable[[], str] = str, *, timeout_s: float = 120.0) -> None:
    """Wait for the condition; where it does not come, say what did not, and what is `told` then."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}\n{told()}"
        time.sleep(0.05)


@dataclass
class Role:
    """One process of a role, on a web port and a data directory that stay its own when it is started again.

    `module` is what is run in place of the command line; `within`: a command to run it under.
    """

    name: str
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    module: str = "replayer.cli"
    within: tuple[str, ...] = ()
    began_at: int = 0  # in its log
    dismissed: bool = False  # somebody ended it: what it does since is no surprise

    @property
    def instance(self) -> str:
        """Its name among those of its role."""
        return self.environment["REPLAYER_INSTANCE_ID"]

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.environment['REPLAYER_WEB_PORT']}"

    def start(self) -> None:
        self.dismissed = False
        with self.log.open("ab") as out:
            self.began_at = out.tell()
            command = [*self.within, sys.executable, "-m", self.module, self.name]
            self.process = subprocess.Popen(command, env=self.environment, stdout=out, stderr=subprocess.STDOUT)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None: it runs, or was never started."""
        return None if self.process is None else self.process.poll()

    def since_start(self) -> str:
        """What it has logged since it was started last."""
        return self.since(self.began_at)

    def since(self, at: int) -> str:
        """What it has logged behind this many bytes of its log."""
        with self.log.open("rb") as log:
            log.seek(at)
            return log.read().decode()

    def tail(self) -> str:
        """The end of its log, for a failing test: what is more than information."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return "\n".join([f"--- {self.log.name}", *[line for line in lines if '"level": "info"' not in line][-20:]])

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-4000:]
        return self.get("/readyz")[0] == 200

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON body; 0 where nobody listens."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=20) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as answered:
            with answered:
                return answered.code, None
        except OSError:
            return 0, None

    def answer(self, path: str) -> tuple[int, Any]:
        """What `get` gives once the worker can answer: partitions may change hands whenever the machine is busy."""
        answers: list[tuple[int, Any]] = []

        def answered() -> bool:
            answers.append(self.get(path))
            return answers[-1][0] not in (0, 503)

        until(answered, f"an answer to {path}")
        return answers[-1]

    def metrics(self, name: str, **labels: str) -> list[float]:
        """The values of these samples in /metrics, of whatever other labels."""
        return [sample.value for sample in self._samples(name, labels)]

    def labels(self, name: str, **labels: str) -> list[dict[str, str]]:
        """The labels of these samples in /metrics."""
        return [sample.labels for sample in self._samples(name, labels)]

    def _samples(self, name: str, labels: dict[str, str]) -> list[Any]:
        with urllib.request.urlopen(self.url + "/metrics", timeout=20) as response:
            families = text_string_to_metric_families(response.read().decode())
            samples = [sample for family in families for sample in family.samples if sample.name == name]
        return [sample for sample in samples if labels.items() <= sample.labels.items()]

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.dismissed = True
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def pause(self) -> None:
        """SIGSTOP."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def stands_still(self) -> bool:
        """Whether it is stopped (SIGSTOP), by whomever."""
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"

    def resume(self) -> None:
        """SIGCONT."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM."""
        assert self.process is not None
        self.dismissed = True
        self.process.send_signal(signal.SIGTERM)

    def ended(self, timeout_s: float = 120.0) -> int:
        """The exit code, once it has ended."""
        assert self.process is not None
        return self.process.wait(timeout_s)

    def stop(self, timeout_s: float = 60.0) -> int:
        """SIGTERM; answers with the exit code."""
        self.terminate()
        return self.ended(timeout_s)


def environment(broker: str, app_id: str, data_dir: Path, **settings: str) -> dict[str, str]:
    """What a role is started with; no REPLAYER_ variable of this process reaches it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REPLAYER_")}
    own = {
        "BROKER": broker,
        "APP_ID": app_id,
        "DATA_DIR": str(data_dir),
        "WEB_PORT": str(free_port(HOST)),
        "LOG_FORMAT": "json",
        **settings,
    }
    return kept | {f"REPLAYER_{name}": value for name, value in own.items()}


@contextmanager
def running(*roles: Role) -> Iterator[None]:
    """Started and ready; whatever still lives at the end is killed."""
    try:
        for role in roles:
            role.start()
        for role in roles:
            until(role.ready, f"{role.name} ready")
        yield
    finally:
        for role in roles:
            if role.process is not None and role.process.poll() is None:
                role.kill()


def command(environment: dict[str, str], *arguments: str, code: int = 0) -> Any:
    """Run `replayer ...` to its end, with this exit code; answers with what it printed as JSON, where it did."""
    done = subprocess.run(
        [sys.executable, "-m", "replayer.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout
