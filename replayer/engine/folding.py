"""A fold, and what becomes of a record it cannot take: a dead letter, never a partition that stands still."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from replayer.core.errors import ReplayerError, RowUnreadable
from replayer.core.outcome import Folded, Folding, Record, Rows, whole
from replayer.engine.config import TableSpec
from replayer.engine.rows import Overlay, StateClosed, StateUnreadable

log = structlog.get_logger(__name__)


#: A row of the table cannot be read (another version wrote it, it is damaged, its database was closed meanwhile): every
#: record of its workflow would be buried for what is not its fault. The worker stops instead.
_STATE_AT_FAULT = (StateUnreadable, StateClosed, RowUnreadable)


class RowTooLarge(ReplayerError):
    """A row would not fit into the changelog: a fold's bounds are wrong for this record."""


def fold(
    spec: TableSpec, rows: Rows, records: Sequence[Record], partition: int, now_ms: int, row_limit: int
) -> Folding:
    """The records folded in one go; where that raises, one by one, and each that raises is a dead letter.

    `row_limit` is in bytes of key and value. Raises StateUnreadable, StateClosed and RowUnreadable: the rows are at
    fault, not the records.
    """
    try:
        return _checked((yield from spec.fold(rows, records, partition, now_ms)), row_limit)
    except _STATE_AT_FAULT:
        raise
    except Exception as exc:  # noqa: BLE001 - a fold is pure: find the one record it fails on; the rest is sound
        log.error(
            "a fold raised; folding its records one by one",
            table=spec.name,
            partition=partition,
            error=type(exc).__name__,
        )
    overlay, total = Overlay(rows), Folded()
    for record in records:
        try:
            one = _checked(whole(spec.fold(overlay, [record], partition, now_ms)), row_limit)
        except _STATE_AT_FAULT:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever it is: the record and its reason are kept
            one = Folded(sends=[spec.poison(record, exc, now_ms)], counts={"dead_letter": 1})
        overlay.write(one.stored)
        total.add(one)
        yield
    return total


def _checked(folded: Folded, row_limit: int) -> Folded:
    large = [value for key, value in folded.rows if value is not None and len(value) + len(key) > row_limit]
    if large:
        raise RowTooLarge(f"a row of {max(map(len, large))} bytes and its key are above the limit of {row_limit}")
    return folded
