"""Kafka Streams: KafkaStreamsPeer.java, compiled on the spot with the JDK of this machine and run in this process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.contenders.job import Job
from replayer.kafka import jars

SOURCE = Path(__file__).with_name("KafkaStreamsPeer.java")
LOCK = Path(__file__).with_name("streams.lock")


def jdk() -> tuple[str, str] | None:
    """Where javac and java are; None on a machine without a JDK."""
    javac = shutil.which("javac")
    java = shutil.which("java", path=str(Path(javac).resolve().parent)) if javac else None
    return (javac, java) if javac and java else None


def main() -> None:
    job = Job.from_argv()
    found = jdk()
    if found is None:
        sys.exit("Kafka Streams needs a JDK: javac is not on the PATH.")
    javac, java = found
    classpath = os.pathsep.join(map(str, jars.classpath(more=LOCK.read_text("utf-8"))))
    classes = Path(job.data_dir) / "classes"
    classes.mkdir(parents=True)
    subprocess.run([javac, "-cp", classpath, "-d", str(classes), str(SOURCE)], check=True)
    settings = dict(job.settings)
    heap = settings.pop("heap_mb")
    command = [
        java,
        f"-Xmx{heap}m",
        f"-XX:+Use{settings.pop('collector')}",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-cp",
        os.pathsep.join([str(classes), classpath]),
        "KafkaStreamsPeer",
        job.bootstrap,
        job.topic,
        job.group,
        str(Path(job.data_dir) / "state"),
        *(f"{name}={value}" for name, value in settings.items()),
    ]
    os.execv(java, command)  # the same process: its processor time and memory are what is measured


if __name__ == "__main__":
    main()
