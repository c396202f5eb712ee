"""How the tests see the `replayer` command: a process that was run, and what it said."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """What went wrong, for a person: said on stderr, and never as a traceback."""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("replayer: "), done.stderr
    assert done.stdout == ""
    return done.stderr
