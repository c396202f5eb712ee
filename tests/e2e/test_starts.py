"""A worker without something it needs: real processes, real sockets, sentences that say what to do."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from replayer.kafka.ports import free_port


def _environment(data_dir: Path, **settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REPLAYER_")}
    own = {"WEB_PORT": str(free_port("127.0.0.1")), "DATA_DIR": str(data_dir), "LOG_FORMAT": "json", **settings}
    return kept | {f"REPLAYER_{name}": value for name, value in own.items()}


@contextmanager
def _role(role: str, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "replayer.cli", role], env=environment, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def _status(environment: dict[str, str], path: str) -> int | None:
    url = f"http://127.0.0.1:{environment['REPLAYER_WEB_PORT']}{path}"
    try:
        with urllib.request.urlopen(url, timeout=20) as response:
            return int(response.status)
    except urllib.error.HTTPError as answered:
        with answered:
            return answered.code
    except OSError:
        return None


def _until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def _reasons(log: Path) -> str:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return " ".join(str(line.get("reason", "")) for line in lines)


@pytest.mark.parametrize("role", ["worker", "investigator"])
def test_without_a_broker_it_says_where_it_looks_stays_alive_and_is_not_ready(role: str, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port('127.0.0.1')}"
    environment, log = _environment(tmp_path / "data", BROKER=address), tmp_path / "log"
    with _role(role, environment, log) as process:
        _until(lambda: log.read_text().count(address) >= 3)  # the address in several attempts: it retries
        assert _status(environment, "/livez") == 200
        assert _status(environment, "/readyz") == 503
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert "Traceback" not in log.read_text()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        environment, log = _environment(tmp_path / "data", BROKER="127.0.0.1:9", WEB_PORT=port), tmp_path / "log"
        with _role("worker", environment, log) as process:
            assert process.wait(60) == 1
    assert f"Port {port} on 127.0.0.1 is taken" in _reasons(log)
    assert "REPLAYER_WEB_PORT" in _reasons(log)
    assert "Traceback" not in log.read_text()


def test_a_data_directory_in_use_is_named(tmp_path: Path) -> None:
    address, log = f"127.0.0.1:{free_port('127.0.0.1')}", tmp_path / "first"
    environment = _environment(tmp_path / "data", BROKER=address, INSTANCE_ID="same")
    with _role("worker", environment, log):
        _until(lambda: address in log.read_text())
        other = environment | {"REPLAYER_WEB_PORT": str(free_port("127.0.0.1"))}
        with _role("worker", other, tmp_path / "second") as process:
            assert process.wait(60) == 1
    assert "is in use by another replayer process" in _reasons(tmp_path / "second")
    assert "REPLAYER_DATA_DIR" in _reasons(tmp_path / "second")


def test_a_data_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file stands where the directory should be")
    environment, log = _environment(tmp_path / "data", BROKER="127.0.0.1:9"), tmp_path / "log"
    with _role("worker", environment, log) as process:
        assert process.wait(60) == 1
    assert "cannot be written" in _reasons(log)
    assert "Traceback" not in log.read_text()


def test_missing_topics_are_named_with_the_command_that_makes_them(
    broker: str, unique: Callable[[str], str], tmp_path: Path
) -> None:
    app = unique("app")
    environment, log = _environment(tmp_path / "data", BROKER=broker, APP_ID=app), tmp_path / "log"
    with _role("worker", environment, log) as process:
        assert process.wait(60) == 1
    assert f"{app}-timelines-changelog" in _reasons(log)
    assert "replayer topics create" in _reasons(log)


def test_another_partition_count_is_named(broker: str, unique: Callable[[str], str], tmp_path: Path) -> None:
    app = unique("app")
    environment, log = _environment(tmp_path / "data", BROKER=broker, APP_ID=app), tmp_path / "log"
    subprocess.run(
        [sys.executable, "-m", "replayer.cli", "topics", "create"], env=environment, check=True, capture_output=True
    )
    with _role("worker", environment | {"REPLAYER_PARTITIONS": "3"}, log) as process:
        assert process.wait(60) == 1
    said = _reasons(log)
    assert "partitions" in said
    assert "REPLAYER_PARTITIONS" in said
