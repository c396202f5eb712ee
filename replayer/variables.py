"""Environment variables that are no settings, and the only module that reads the environment by name.

Settings are read by `replayer.settings.load`. Nothing heavy is imported here: `replayer --help` needs it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

PREFIX = "REPLAYER_"


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable. A secret is never shown."""

    name: str
    help: str
    secret: bool = False

    def read(self) -> str | None:
        """Its value now; None where it is unset or empty."""
        return os.environ.get(self.name) or None


CONFIG = Variable("REPLAYER_CONFIG", "TOML file of settings: the names above in lower case, without the prefix")
API_TOKEN = Variable(
    "REPLAYER_API_TOKEN",
    # Never an option: command lines are seen by everybody on the host.
    "Token that `replayer timeline`, `replay show` and the other commands that ask a worker send to it",
    secret=True,
)
DEMO_EXIT = Variable("DEMO_EXIT", "1: `replayer demo` ends by itself when all is shown, as with --exit")
USER = Variable("USER", "Who asks for a replay, where `replayer replay start` is given no --requester")
COLUMNS = Variable("COLUMNS", "Width of tables; unset: the terminal's, or 180 where nobody watches")

VARIABLES = (CONFIG, API_TOKEN, DEMO_EXIT, USER, COLUMNS)


def ours() -> frozenset[str]:
    """The names of all variables that are set and begin as ours do, misspelt ones included."""
    return frozenset(name for name in os.environ if name.startswith(PREFIX))


def inherited() -> dict[str, str]:
    """The environment for a child process that is told its own settings: without any of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
