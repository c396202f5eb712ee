"""The tables each role keeps: which topics feed them and which fold makes their rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import structlog

from replayer.core.deadletters import dead_letter
from replayer.core.implied import implied
from replayer.core.index import IndexFold
from replayer.core.indexing import indexed
from replayer.core.origin import Originated
from replayer.core.outcome import Record, Send
from replayer.core.relay import RelayFold
from replayer.core.replays import ReplaysFold
from replayer.core.timeline import TimelineFold
from replayer.engine.config import Fold, TableSpec
from replayer.native.fold import NativeFold
from replayer.native.index import NativeIndexFold
from replayer.native.library import Library, NoLibrary, UnusableLibrary
from topics import catalogue, deadletter
from topics.mapping import Rules

log = structlog.get_logger(__name__)

TIMELINES = "timelines"
REPLAYS = "replays"
INVESTIGATIONS = "investigations"
TEMPLATES = "templates"
RELAY = "relay-"  # and the foreign topic's name

#: The index of a worker that catches up is folded in fewer and larger steps: heads are written once for more uses.
_INDEX_PACE_S = 0.25

_REPLAY_TOPICS = (catalogue.REPLAY_COMMANDS.name, catalogue.REPLAY_PROGRESS.name)


def timelines(
    partitions: int,
    partition_of: Callable[[bytes, int], int],
    max_record_bytes: int,
    fold: Literal["auto", "python"] = "auto",
    index: bool = False,
    rekeyed: bool = False,
) -> TableSpec:
    """The worker's main table: every event family, co-partitioned by workflow ID, and `rekeyed` what was made so.

    `fold` auto: native where its library can be used. The log says which it is, and why not the other. `index`: whether
    its steps tell the index what was used.
    """
    folding, library = _timeline_fold(lambda key: partition_of(key, partitions), max_record_bytes, fold, index)
    sources = catalogue.SOURCES
    if rekeyed:
        sources, folding = (*sources, catalogue.REKEYED_EVENTS), Originated(folding).folding
    return TableSpec(
        TIMELINES,
        tuple(topic.name for topic in sources),
        partitions,
        folding,
        partial(_poison, max_record_bytes),
        implied=implied,
        library=library,
    )


def templates(
    partitions: int, partition_of: Callable[[bytes, int], int], max_record_bytes: int, library: Library | None = None
) -> TableSpec:
    """The index: who used which prompt template, model, tool, document, and what policies said.

    `library`: what folds it, as that of the timelines; None: Python.
    """

    def home(shelf: bytes) -> int:
        return partition_of(shelf, partitions)

    return TableSpec(
        TEMPLATES,
        (catalogue.TEMPLATE_USAGE.name,),
        partitions,
        IndexFold(partition_of=home, max_record_bytes=max_record_bytes).folding
        if library is None
        else NativeIndexFold(partition_of=home, max_record_bytes=max_record_bytes, library=library).folding,
        partial(_poison, max_record_bytes),
        library=library,
        pace_s=_INDEX_PACE_S,
    )


def relay(topic: str, partitions: int, rules: Sequence[Rules], max_record_bytes: int) -> TableSpec:
    """A foreign topic, sent on to `rekeyed-events`."""
    return TableSpec(
        RELAY + topic,
        (topic,),
        partitions,
        RelayFold(rules, max_record_bytes=max_record_bytes).folding,
        partial(_poison, max_record_bytes),
        feeds=(catalogue.REKEYED_EVENTS.name,),
    )


def replays(partitions: int, partition_of: Callable[[bytes, int], int], max_record_bytes: int) -> TableSpec:
    """The worker's table of investigations, for the views. What is neither command nor progress is buried here."""
    return TableSpec(
        REPLAYS,
        _REPLAY_TOPICS,
        partitions,
        _replays_fold(partitions, partition_of, max_record_bytes),
        partial(_poison, max_record_bytes),
    )


def investigations(
    partitions: int,
    partition_of: Callable[[bytes, int], int],
    max_record_bytes: int,
    after_commit: Callable[[int], None],
) -> TableSpec:
    """The investigator's own copy: what it has to run. It buries nothing: the workers read the same topics and do."""
    return TableSpec(
        INVESTIGATIONS,
        _REPLAY_TOPICS,
        partitions,
        _replays_fold(partitions, partition_of, max_record_bytes),
        partial(_poison, max_record_bytes),
        after_commit,
        buries=False,
    )


def _replays_fold(partitions: int, partition_of: Callable[[bytes, int], int], max_record_bytes: int) -> Fold:
    return ReplaysFold(
        partition_of=lambda key: partition_of(key, partitions), max_record_bytes=max_record_bytes
    ).folding


def _timeline_fold(
    partition_of: Callable[[bytes], int], max_record_bytes: int, asked: str, index: bool
) -> tuple[Fold, Library | None]:
    if asked == "auto":
        try:
            native = NativeFold(partition_of=partition_of, max_record_bytes=max_record_bytes, indexed=index)
        except UnusableLibrary as exc:
            log.warning("timelines are folded in Python", reason=str(exc))
        except NoLibrary as exc:
            log.info("timelines are folded in Python", reason=str(exc))
        else:
            log.info("timelines are folded by native code")
            return native.folding, native.library
    else:
        log.info("timelines are folded in Python", reason="REPLAYER_FOLD=python")
    python = TimelineFold(partition_of=partition_of, max_record_bytes=max_record_bytes).folding
    return (lambda *step: indexed(python(*step))) if index else python, None


def _poison(max_record_bytes: int, record: Record, exc: Exception, now_ms: int) -> Send:
    # The exception's text may quote the record: only its class is told.
    return dead_letter(
        record, deadletter.POISON, type(exc).__name__, "folding the record raised", max_record_bytes, now_ms
    )
