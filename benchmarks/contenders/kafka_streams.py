"""Kafka Streams: streams/*.java, compiled on the spot with the JDK of this machine and run in this process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders.job import Job
from replayer.kafka import jars

SOURCES = Path(__file__).with_name("streams")
LOCK = SOURCES / "streams.lock"


def jdk() -> tuple[str, str] | None:
    """Where javac and java are; None on a machine without a JDK."""
    javac = shutil.which("javac")
    java = shutil.which("java", path=str(Path(javac).resolve().parent)) if javac else None
    return (javac, java) if javac and java else None


@dataclass(frozen=True, slots=True)
class Compiled:
    """The peer's classes, and what it takes to run one of them."""

    java: str
    classpath: str

    def command(self, main: str, *arguments: str, options: tuple[str, ...] = ()) -> tuple[str, ...]:
        return (self.java, *options, "-cp", self.classpath, main, *arguments)


def compiled(classes: Path) -> Compiled:
    """Compile into `classes`. Raises SystemExit without a JDK."""
    found = jdk()
    if found is None:
        sys.exit("Kafka Streams needs a JDK: javac is not on the PATH.")
    javac, java = found
    libraries = os.pathsep.join(map(str, jars.classpath(more=LOCK.read_text("utf-8"))))
    classes.mkdir(parents=True)
    sources = sorted(map(str, SOURCES.glob("*.java")))
    subprocess.run([javac, "-cp", libraries, "-d", str(classes), *sources], check=True)
    return Compiled(java, os.pathsep.join([str(classes), libraries]))


def main() -> None:
    job = Job.from_argv()
    peer = compiled(Path(job.data_dir) / "classes")
    settings = dict(job.settings)
    options = (
        f"-Xmx{settings.pop('heap_mb')}m",
        f"-XX:+Use{settings.pop('collector')}",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    )
    rows, cache_all = settings.pop("rows"), settings.pop("cache_all")
    command = peer.command(
        "KafkaStreamsPeer",
        job.bootstrap,
        job.topic,
        job.group,
        str(Path(job.data_dir) / "state"),
        rows,
        str(cache_all).lower(),
        *(f"{name}={value}" for name, value in settings.items()),
        options=options,
    )
    os.execv(command[0], command)  # the same process: its processor time and memory are what is measured


if __name__ == "__main__":
    main()
