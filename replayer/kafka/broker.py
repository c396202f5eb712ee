"""A real Apache Kafka in a child process: for `replayer broker`, `replayer demo` and the tests. Not for production."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from replayer.kafka import jars, node, watchdog
from replayer.kafka.errors import BrokerStartError
from replayer.kafka.ports import free_port, is_free, listens


class EmbeddedBroker:
    """One-node KRaft Kafka on loopback; ends with the process that started it, however that one ends.

    Args:
        port: where clients connect; None chooses a free one.
        data_dir: kept, and may be started again later; None is a temporary directory that `stop` deletes.
        properties: broker properties on top of DEFAULTS.
        protocol: security protocol of the clients' listener; its SASL/TLS details go into `properties`.
        client: security keyword arguments of an aiokafka client, for the readiness request.
        heap_mb: Java heap.
        java_options: further options of the Java process.
        start_timeout_s: how long a start may take once the jars are there.
        progress: gets a line when something takes long.

    `start`, `stop`, `kill` and `restart` block; `async with` does the same off the event loop.
    """

    def __init__(
        self,
        *,
        port: int | None = None,
        data_dir: Path | None = None,
        properties: Mapping[str, str] | None = None,
        protocol: str = "PLAINTEXT",
        client: Mapping[str, Any] | None = None,
        heap_mb: int = 512,
        java_options: Sequence[str] = (),
        start_timeout_s: float = 60.0,
        progress: jars.Progress = jars.to_stderr,
    ) -> None:
        self.port = port or free_port(node.HOST)
        self.temporary = data_dir is None
        self.data_dir = data_dir
        self._controller_port = free_port(node.HOST)
        self._properties = dict(properties or {})
        self._protocol = protocol
        self._client = dict(client or {})
        self._heap_mb = heap_mb
        self._further = tuple(java_options)
        self._start_timeout_s = start_timeout_s
        self._progress = progress
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0

    @property
    def bootstrap(self) -> str:
        """host:port for clients."""
        return f"{node.HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the Java process, for SIGSTOP and SIGCONT. Raises BrokerStartError when it does not run."""
        if not self.running:
            raise BrokerStartError("The embedded broker is not running: start it first.")
        return self._pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log_file(self) -> Path:
        """What Kafka itself says (warnings and errors)."""
        return (self.data_dir or self._directory()) / "broker.log"

    def log_tail(self) -> str:
        """The last lines of `log_file` but for stack frames. To be asked before `stop`: that may delete it."""
        try:
            return _tail(self.log_file.read_text("utf-8", "replace"))
        except OSError:
            return "(no log)"

    def start(self) -> Self:
        """Start and return once the broker answers a metadata request. Raises BrokerStartError."""
        if self.running:
            return self
        self.kill()  # one that died by itself still has to be waited for
        java, classpath = jars.java(), jars.classpath(self._progress)
        if not is_free(node.HOST, self.port):
            raise BrokerStartError(
                f"Port {self.port} on {node.HOST} is taken: stop what listens there, or choose another port."
            )
        if not is_free(node.HOST, self._controller_port):
            self._controller_port = free_port(node.HOST)
        command = [str(java), *self._java_options(), "-cp", os.pathsep.join(map(str, classpath))]
        try:
            with self._locked_directory() as lock:
                config = self._write_config()
                self._format(command, config)
                self._launch([*command, "kafka.Kafka", str(config)], lock)
            self._await_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self, timeout_s: float = 20.0) -> None:
        """End the broker, gently where its data is kept; delete its directory where it is temporary."""
        if self.running and not self.temporary:
            self._signal(signal.SIGCONT)
            self._signal(signal.SIGTERM)
            try:
                self._wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._progress(f"the broker did not stop within {timeout_s:.0f} s and is killed")
        self.kill()
        if self.temporary and self.data_dir is not None:
            shutil.rmtree(self.data_dir, ignore_errors=True)
            self.data_dir = None

    def kill(self) -> None:
        """kill -9, data left as it is."""
        if self.running:
            self._signal(signal.SIGKILL)
        self._wait(10.0)

    def restart(self) -> Self:
        """The same port and data again, after `kill` or while running (then it is stopped gently first)."""
        if self.running:
            self._signal(signal.SIGTERM)
            self._wait(self._start_timeout_s)
        return self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    def _directory(self) -> Path:
        try:
            if self.data_dir is None:
                self.data_dir = Path(tempfile.mkdtemp(prefix="replayer-broker-"))
            self.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        return self.data_dir

    @contextmanager
    def _locked_directory(self) -> Iterator[int]:
        """Hold the data directory for us and, from `_launch` on, for the watchdog as long as it lives.

        Kafka's own lock comes too late: a second broker has by then damaged the first one's metadata log.
        """
        try:
            handle = os.open(self._directory() / ".replayer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield handle
        except BlockingIOError as error:
            raise BrokerStartError(
                f"The data directory {self.data_dir} is in use by another broker: stop it, or choose another directory."
            ) from error
        finally:
            os.close(handle)

    def _unwritable(self, error: OSError) -> BrokerStartError:
        return BrokerStartError(
            f"The broker's data directory {self.data_dir} cannot be written ({error.strerror}): "
            "choose another one or change its permissions."
        )

    def _java_options(self) -> list[str]:
        return [
            f"-Xmx{self._heap_mb}m",
            "-XX:+UseSerialGC",
            "-Djava.net.preferIPv4Stack=true",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            *self._further,
        ]

    def _write_config(self) -> Path:
        properties = {
            **node.properties(self._protocol, self.port, self._controller_port, self._directory() / "log"),
            **self._properties,
        }
        path = self._directory() / "server.properties"
        try:
            path.touch(mode=0o600)  # it may hold a JAAS password
            path.write_text(node.as_file(properties), "utf-8")
        except OSError as error:
            raise self._unwritable(error) from error
        return path

    def _format(self, command: list[str], config: Path) -> None:
        if (self._directory() / "log" / "meta.properties").exists():
            return
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        tool = [
            *command,
            "-XX:TieredStopAtLevel=1",
            "kafka.tools.StorageTool",
            "format",
            "-t",
            cluster_id,
            "-c",
            str(config),
        ]
        done = subprocess.run(tool, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BrokerStartError(
                f"{self.data_dir} could not be prepared as Kafka's data directory: {_tail(done.stdout + done.stderr)}"
            )

    def _launch(self, command: list[str], lock: int) -> None:
        delete = str(self._directory()) if self.temporary else ""
        with self.log_file.open("ab") as log:
            # A session of its own: Ctrl-C reaches whoever started us, who then stops things in the right order.
            self._process = subprocess.Popen(
                watchdog.guarded(*command, delete=delete),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                pass_fds=(lock,),
            )
        assert self._process.stdout is not None
        self._pid = int(self._process.stdout.readline() or 0)
        if not self._pid:
            raise BrokerStartError(f"The broker's Java process could not be started: {self.log_tail()}")

    def _await_ready(self) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        said = time.monotonic()
        while time.monotonic() < deadline:
            if not self.running:
                raise BrokerStartError(self._why_it_died())
            if listens(node.HOST, self.port) and node.answers(self.bootstrap, self._client):
                return
            if time.monotonic() - said > 10:
                said = time.monotonic()
                self._progress("still waiting for the embedded broker")
            time.sleep(0.05)
        raise BrokerStartError(
            f"The embedded broker did not answer on {self.bootstrap} within {self._start_timeout_s:.0f} s. "
            f"Its log ends: {self.log_tail()}"
        )

    def _why_it_died(self) -> str:
        tail = self.log_tail()
        if "Address already in use" in tail:
            return f"Port {self.port} on {node.HOST} is taken: stop what listens there, or choose another port."
        if "Failed to acquire lock" in tail:
            return (
                f"The data directory {self.data_dir} is in use by another broker: stop it, or choose another directory."
            )
        return f"The broker's Java process ended. Its log ({self.log_file}) ends: {tail}"

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            os.kill(self._pid, number)

    def _wait(self, timeout_s: float) -> None:
        if self._process is None:
            return
        self._process.wait(timeout_s)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None


def _tail(text: str, lines: int = 8) -> str:
    said = [line for line in text.splitlines() if line.strip() and not line.startswith("\tat ")]
    return "\n".join(said[-lines:]) or "(empty)"
