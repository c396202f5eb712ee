"""The demo's steps as lines on the screen: what is being done, how far it is, how it came out, how long it took."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console

from replayer.commands.wording import duration

#: Where nobody watches, a line now and then is enough to see that it lives.
QUIET_EVERY_S = 5.0


class Step:
    """`with Step(console, "Topics") as step:` ends as `✓ Topics: <outcome> (1.2 s)`, after a failure as `✗ Topics`."""

    def __init__(self, console: Console, what: str) -> None:
        self._console, self._what, self._outcome = console, what, ""
        self._status = console.status(what) if sys.stdout.isatty() else None
        self._began = self._told = time.monotonic()

    def now(self, text: str) -> None:
        """What is going on: shown live, or, where nobody watches, in a line every few seconds."""
        if self._status is not None:
            self._status.update(f"{self._what}: {text}")
        elif time.monotonic() - self._told > QUIET_EVERY_S:
            self._told = time.monotonic()
            self._say(f"  {self._what}: {text}")

    def outcome(self, text: str) -> None:
        """How it came out."""
        self._outcome = f": {text}"

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()
        took = duration((time.monotonic() - self._began) * 1000)
        self._say(f"✓ {self._what}{self._outcome} ({took})" if kind is None else f"✗ {self._what}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)
