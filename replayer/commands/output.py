"""Where commands say things: answers on stdout, for people or as JSON; everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from replayer.commands.wording import clean
from replayer.variables import COLUMNS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

#: Width of tables that nobody watches: wide enough to be searched with grep.
PIPED_WIDTH = 180


def stdout() -> Console:
    """The console answers go to."""
    from rich.console import Console

    watched = sys.stdout.isatty() or COLUMNS.read() is not None
    return Console(width=None if watched else PIPED_WIDTH, highlight=False)


def stderr() -> Console:
    """The console for everything that is no answer: progress, hints, complaints."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def say_json(value: Any) -> None:
    """One JSON document and a newline, indented in a terminal."""
    indent = 2 if sys.stdout.isatty() else None
    separators = None if indent else (",", ":")
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=indent, separators=separators) + "\n")
    sys.stdout.flush()


def say_line(line: str) -> None:
    """One line on stdout: for streams of JSON."""
    sys.stdout.write(line + "\n")


def say(sentence: str) -> None:
    """For people, on stdout: taken as it is and never broken, for it may hold a command to copy."""
    sys.stdout.write("".join(f"{clean(line)}\n" for line in sentence.splitlines()))
    sys.stdout.flush()


def complain(sentence: str) -> None:
    """`replayer: <sentence>` on stderr; no markup, no wrapping: scripts read it, too."""
    sys.stderr.write("".join(f"replayer: {clean(line)}\n" for line in sentence.splitlines()))
    sys.stderr.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> Table:
    """A table of plain texts: nothing in a cell is taken for markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        made.add_row(*(Text(clean(cell)) for cell in row))
    return made


def facts(rows: Iterable[tuple[str, str]]) -> Table:
    """What is known about one thing, a line each."""
    from rich.table import Table
    from rich.text import Text

    made = Table.grid(padding=(0, 2, 0, 0))
    for label, value in rows:
        made.add_row(Text(label, "dim"), Text(clean(value)))
    return made


def progress(description: str) -> Progress:
    """A progress bar on stderr that goes away when it is done; silent where nobody watches stderr."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn(description),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=stderr(),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
