"""Every error of the pure rooms.

ReplayerError
├── InvalidPosition         a page was asked for from a position no page gave
├── TooBroad                a question of the index that would have to look at too much of it
├── InvalidRun              a recorded run that is to be imported breaks a rule
└── RowUnreadable           the state is at fault, not the record that met it: work on it must stop
    ├── DamagedRow          a stored row is not what its format says
    └── UnknownRowFormat    a stored row was written by another version
"""

from __future__ import annotations


class ReplayerError(Exception):
    """Base of what replayer raises by name."""


class InvalidRun(ReplayerError):
    """A recorded run cannot become a workflow; the message names the field and the rule, never a value."""


class RowUnreadable(ReplayerError):
    """A stored row cannot be read. No record is to blame: to bury the records that meet it would empty the log."""


class UnknownRowFormat(RowUnreadable):
    """A stored row carries a format version this replayer cannot read: it was written by a newer one."""

    def __init__(self, kind: str, found: int, known: tuple[int, ...]) -> None:
        super().__init__(
            f"A {kind} row has format {found}; this version of replayer reads {', '.join(map(str, known))}. "
            "Run the version that wrote it, or rebuild the table under another REPLAYER_APP_ID."
        )


class DamagedRow(RowUnreadable):
    """A stored row of a known format cannot be read."""

    def __init__(self, kind: str) -> None:
        super().__init__(
            f"A {kind} row is damaged. Stop the worker and delete its data directory: it is rebuilt from the changelog."
        )


class TooBroad(ReplayerError):
    """Too much of the index would have to be looked at; the text says how to ask for less."""


class InvalidPosition(ReplayerError):
    """A page was asked for from a position that no page of this order has given."""
