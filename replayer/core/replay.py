"""The life of a replay: what commands and progress make of it, whatever their order and however often they come.

PLANNED -> RUNNING <-> PAUSED -> COMPLETED | FAILED | CANCELLED. Commands are wishes, progress is fact: only progress,
written by whoever runs the replay, moves the state, so a cancel that comes too late changes nothing but is kept.
Merging is a join: any order and repetition of the same messages gives the same replay. Of two starts that ask for
different things under one id the log's order decides; the later one is refused and stays visible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import Field

from topics.classification import INTERNAL, PUBLIC
from topics.commands import CANCEL, START, ReplayCommand, ReplayId
from topics.fields import Id, Instant, Model, Name
from topics.progress import ReplayProgress, State, encode_progress

MAX_REFUSALS: Final = 20

_P, _R, _H = State.PLANNED, State.RUNNING, State.PAUSED
_FINAL = frozenset(state for state in State if state.final)

REACHES: Mapping[State, frozenset[State]] = MappingProxyType(
    {_P: frozenset({_R, _H}) | _FINAL, _R: frozenset({_H}) | _FINAL, _H: frozenset({_R}) | _FINAL}
    | {state: frozenset() for state in _FINAL}
)
"""Where a replay may be seen next. Not single steps: progress in between may never have been folded."""


class Refusal(Model):
    """A command that was not obeyed, and why."""

    command_id: Annotated[Id, INTERNAL]
    requester: Annotated[Name, INTERNAL]
    requested_at: Annotated[Instant, INTERNAL]
    reason: Annotated[str, PUBLIC]


class Cancel(Model):
    """Who wanted the replay to stop."""

    command_id: Annotated[Id, INTERNAL]
    requester: Annotated[Name, INTERNAL]
    requested_at: Annotated[Instant, INTERNAL]


class Replay(Model):
    """One replay as far as the messages seen tell. `command` is the start that was accepted."""

    replay_id: Annotated[ReplayId, INTERNAL]
    command: Annotated[ReplayCommand | None, INTERNAL] = None
    cancel: Annotated[Cancel | None, INTERNAL] = None
    progress: Annotated[ReplayProgress | None, INTERNAL] = None
    refused: Annotated[tuple[Refusal, ...], INTERNAL, Field(max_length=MAX_REFUSALS)] = ()
    refused_more: Annotated[bool, INTERNAL] = False

    @property
    def state(self) -> State:
        return self.progress.state if self.progress is not None else State.PLANNED

    @property
    def known(self) -> bool:
        """Whether anybody started it: a cancel alone is kept for a start that may still come, and is no replay yet."""
        return self.command is not None or self.progress is not None

    @property
    def open(self) -> bool:
        """Whether an investigator has something to do for it: also a cancelled one wants its terminal record."""
        return self.command is not None and not self.state.final

    @property
    def cancelling(self) -> bool:
        return self.cancel is not None and not self.state.final


class Outcome(StrEnum):
    """What a message came to."""

    ACCEPTED = "accepted"
    CANCELLING = "cancelling"
    TOO_LATE = "too_late"  # a cancel of what has ended: kept, and without effect
    ADVANCED = "advanced"
    DUPLICATE = "duplicate"
    REFUSED = "refused"
    STALE = "stale"  # progress that is older than what is known, or comes after the end
    UNKNOWN_ACTION = "unknown_action"  # of a later version: a dead letter, to be redriven after an upgrade


@dataclass(frozen=True, slots=True)
class Step:
    """The replay after a message, and what the message came to."""

    replay: Replay | None
    outcome: Outcome


def command(replay: Replay | None, said: ReplayCommand) -> Step:
    """The replay after a command. Total: every valid command in every state has an outcome."""
    if said.action == START:
        return _start(replay or Replay(replay_id=said.replay_id), said)
    if said.action == CANCEL:
        return _cancel(replay or Replay(replay_id=said.replay_id), said)
    return Step(replay, Outcome.UNKNOWN_ACTION)


def progress(replay: Replay | None, said: ReplayProgress) -> Step:
    """The replay after a progress record. The highest version holds; once a replay has ended, its end holds."""
    replay = replay or Replay(replay_id=said.replay_id)
    known = replay.progress
    if known == said:
        return Step(replay, Outcome.DUPLICATE)
    if known is not None and _holds(known, said) is known:
        return Step(replay, Outcome.STALE)
    return Step(replay.model_copy(update={"progress": said}), Outcome.ADVANCED)


def _start(replay: Replay, said: ReplayCommand) -> Step:
    if replay.command is None:
        return Step(replay.model_copy(update={"command": said}), Outcome.ACCEPTED)
    if replay.command.content == said.content:
        first = min(replay.command, said, key=_age)
        return Step(replay.model_copy(update={"command": first}), Outcome.DUPLICATE)
    if any(known.command_id == said.command_id for known in replay.refused):
        return Step(replay, Outcome.DUPLICATE)
    if len(replay.refused) == MAX_REFUSALS:
        return Step(replay.model_copy(update={"refused_more": True}), Outcome.REFUSED)
    refusal = Refusal(
        command_id=said.command_id,
        requester=said.requester,
        requested_at=said.requested_at,
        reason="another request was accepted under this replay_id: choose a new one",
    )
    return Step(replay.model_copy(update={"refused": (*replay.refused, refusal)}), Outcome.REFUSED)


def _cancel(replay: Replay, said: ReplayCommand) -> Step:
    wish = Cancel(command_id=said.command_id, requester=said.requester, requested_at=said.requested_at)
    if replay.cancel is not None:
        first = min(replay.cancel, wish, key=_age)
        return Step(replay.model_copy(update={"cancel": first}), Outcome.DUPLICATE)
    outcome = Outcome.TOO_LATE if replay.state.final else Outcome.CANCELLING
    return Step(replay.model_copy(update={"cancel": wish}), outcome)


def _age(said: Cancel | ReplayCommand) -> tuple[datetime, str, str]:
    return (said.requested_at, said.command_id, said.requester)


def _holds(one: ReplayProgress, other: ReplayProgress) -> ReplayProgress:
    """Which of two holds, whoever came first: an end over what is under way, the first end, else the newest."""
    if one.state.final != other.state.final:
        return one if one.state.final else other
    if one.version != other.version:
        older, newer = sorted((one, other), key=lambda said: said.version)
        return older if one.state.final else newer
    return min(one, other, key=encode_progress)
