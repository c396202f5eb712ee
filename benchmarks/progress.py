"""What a person sees while the figures are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars


class Progress:
    """Lines for what is done, bars for what is going on; plain lines outside a terminal."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, line: str) -> None:
        self._console.print(line)

    @contextmanager
    def counting(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar towards `total`; gives a function that moves it on."""
        with Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        ) as bars:
            task = bars.add_task(what, total=total)
            yield lambda count: bars.advance(task, count)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """A spinner with a clock."""
        with Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        ) as bars:
            bars.add_task(what, total=None)
            yield
