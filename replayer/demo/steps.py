"""The demo's steps as lines on the screen: what is being done, how far it is, how long it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from replayer.commands.wording import duration

#: Where nobody watches, a line now and then is enough to see that it lives.
QUIET_EVERY_S = 5.0

Tell = Callable[[str], None]


@contextmanager
def step(console: Console, what: str) -> Iterator[Tell]:
    """`✓ what: how it came out (1.2 s)` at the end, `✗ what` after a failure; what is told last is how it came out.

    Meanwhile that is shown live, or, where nobody watches, in a line every few seconds.
    """
    began = time.monotonic()
    said, at = "", began
    status = console.status(what) if sys.stdout.isatty() else None

    def tell(text: str) -> None:
        nonlocal said, at
        said = text
        if status is not None:
            status.update(f"{what}: {text}")
        elif time.monotonic() - at > QUIET_EVERY_S:
            at = time.monotonic()
            console.print(f"  {what}: {text}", markup=False)

    if status is not None:
        status.start()
    try:
        yield tell
    except BaseException:
        console.print(f"✗ {what}", markup=False)
        raise
    finally:
        if status is not None:
            status.stop()
    outcome = f": {said}" if said else ""
    console.print(f"✓ {what}{outcome} ({duration((time.monotonic() - began) * 1000)})", markup=False)
