"""A point at which the process stops itself, so that a test strikes exactly there."""

from __future__ import annotations

import os
import signal
from pathlib import Path

VARIABLE = "CHAOS_PAUSE"
"""Names a file: where it exists, the next one to come by takes it away and stops (SIGSTOP)."""


def pause_point() -> None:
    """Stop here if somebody asks for it."""
    wanted = Path(os.environ[VARIABLE])
    if wanted.exists():
        wanted.unlink()
        os.kill(os.getpid(), signal.SIGSTOP)
