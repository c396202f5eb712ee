"""The `replayer` command as people run it: a process of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from replayer.kafka.admin import LogAdmin
from tests.cli.running import Command
from topics.catalogue import TOPICS


@pytest.fixture
def replayer(tmp_path: Path) -> Command:
    """`replayer("topics", "check", REPLAYER_BROKER=...)`; no REPLAYER_ variable of ours reaches it."""

    def run(*arguments: str, timeout_s: float = 120.0, **variables: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("REPLAYER_")}
        directories = {
            "REPLAYER_DATA_DIR": str(tmp_path / "data"),
            "REPLAYER_ARTEFACT_DIR": str(tmp_path / "artefacts"),
        }
        return subprocess.run(
            [sys.executable, "-m", "replayer.cli", *arguments],
            env={**inherited, **directories, **variables},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def cluster(broker: str) -> dict[str, str]:
    """A cluster with the topics, as settings."""

    async def create() -> None:
        async with LogAdmin([broker]) as admin:
            await admin.create(TOPICS)

    asyncio.run(create())
    return {"REPLAYER_BROKER": broker}
