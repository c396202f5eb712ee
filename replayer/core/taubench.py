"""One tau-bench run becomes one workflow: a pure mapping, so that the same run imported again is duplicates.

| in the run | event | in it |
|---|---|---|
| `system` message | stage.completed (`instructions`) | its text; from here on the prompt template of every model call |
| `user` message | workflow.request_received | its text; it opens a decision |
| `assistant` message | model.invocation_completed | its text (none where it only called tools), its template |
| each of its `tool_calls` | tool.call_started | its arguments; caused by the model invocation |
| `tool` message | tool.call_completed | its text; caused by the call it answers |
| `reward` | feedback.received | score, the run's `info` as evidence |
| the end | workflow.completed | |

Every message is in exactly one event, `<workflow>-m<index>`; calls, reward and end have events of their own. Texts are
artefacts, byte for byte.

**The clock is made up**, because the messages carry no timestamps: task t of trial r starts at `Origin.start` + r days
+ 10·t minutes, message i comes i seconds later, its tool calls a millisecond apart after it. So there are no latencies.

**Decisions**: one per user message, holding everything until the next one; what precedes the first belongs to it, too.
The reward belongs to the last decision in which the model acted, the end to the last one.

**A tool's answer goes to the oldest unanswered call with its id**, not to the id alone: recorded runs use an id again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from replayer.core.artefacts import JSON, TEXT, Artefact, artefact
from replayer.core.errors import InvalidRun
from topics.classification import Classification
from topics.events import EventModel, event
from topics.families.feedback import FeedbackReceived
from topics.families.model import ModelInvocationCompleted
from topics.families.stage import StageCompleted
from topics.families.tool import ToolCallCompleted, ToolCallStarted
from topics.families.workflow import RequestReceived, WorkflowCompleted
from topics.fields import ArtifactRef, Model, PromptTemplate

#: What the airline policy of the recorded runs calls "the current time" (2024-05-15 15:00 EST), in UTC.
START = datetime(2024, 5, 15, 20, tzinfo=UTC)
#: Who says so; whoever reads a time must be able to see that nobody measured it.
SOURCE = "tau-bench import (clock made up)"


@dataclass(frozen=True, slots=True)
class Origin:
    """What the runs of one file have in common. `dataset` (1 to 80 characters, no NUL) begins every id."""

    dataset: str
    tenant_id: str = "tau-bench"
    provider: str = "openai"
    model: str = "gpt-4o"
    start: datetime = START


@dataclass(frozen=True, slots=True)
class Imported:
    """A run as a workflow: its events in order, and the texts they refer to (store those first)."""

    workflow_id: str
    events: tuple[EventModel, ...]
    artefacts: tuple[Artefact, ...]


def imported(run: Mapping[str, Any], origin: Origin) -> Imported:
    """The workflow of one run. Raises InvalidRun, which names the field and the rule and never quotes a message."""
    try:
        walk = _Walk(_Run.model_validate(run), origin)
        walk.run_through()
    except ValidationError as refused:
        raise InvalidRun(_first(refused)) from None
    return Imported(walk.workflow_id, tuple(walk.events), tuple(walk.artefacts.values()))


class _Input(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)


def _unicode(text: str) -> str:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("half a surrogate pair is no Unicode text")
    return text


_Text = Annotated[str, AfterValidator(_unicode)]


class _Function(_Input):
    name: _Text
    arguments: _Text


class _Call(_Input):
    id: _Text
    function: _Function


class _Message(_Input):
    role: Literal["system", "user", "assistant", "tool"]
    content: _Text | None = None
    name: _Text | None = None
    tool_call_id: _Text | None = None
    tool_calls: list[_Call] | None = None


class _Run(_Input):
    task_id: Annotated[int, Field(ge=0, le=1_000_000)]
    trial: Annotated[int, Field(ge=0, le=10_000)] = 0
    reward: float | None = None
    info: Any = None
    traj: Annotated[list[_Message], Field(min_length=1)]


def _first(refused: ValidationError) -> str:
    problem = refused.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'the run'}: {problem['msg']}"


@dataclass(slots=True)
class _Walk:
    """One pass over a run's messages."""

    run: _Run
    origin: Origin
    workflow_id: str = ""
    events: list[EventModel] = field(default_factory=list)
    artefacts: dict[str, Artefact] = field(default_factory=dict)
    template: PromptTemplate | None = None
    decision: int = 0
    acted: int = 0
    previous: str | None = None
    #: Calls nobody has answered yet: call id -> (event id, tool name), oldest first.
    open_calls: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def run_through(self) -> None:
        run = self.run
        self.workflow_id = f"{self.origin.dataset}-{run.task_id:03d}-{run.trial}"
        self.decision = self.acted = int(any(message.role == "user" for message in run.traj))
        asked = 0
        for index, message in enumerate(run.traj):
            if message.role == "user":
                asked += 1
                self.decision = asked
            if message.role == "assistant":
                self.acted = self.decision
            self.message(index, message)
        end = len(run.traj)
        if run.reward is not None:
            self.reward(run.reward, end)
        self.emit(WorkflowCompleted(outcome="ended"), "completed", (end + 1) * 1000, parent=self.previous)

    def message(self, index: int, message: _Message) -> None:
        suffix, at_ms, parent = f"m{index:03d}", index * 1000, self.previous
        data: Model
        match message.role:
            case "system":
                text = self.text(message.content or "", Classification.INTERNAL)
                self.template = _template(message.content or "", text.sha256)
                execution = f"{self.workflow_id}-{suffix}"
                data = StageCompleted(execution_id=execution, stage="instructions", artefact=text)
            case "user":
                data = RequestReceived(channel="chat", request=self.text(message.content or ""), sequence=index)
            case "assistant":
                data = self.invocation(message)
            case "tool":
                data, parent = self.answer(index, message)
        self.previous = self.emit(data, suffix, at_ms, parent=parent)
        for number, call in enumerate(message.tool_calls or () if message.role == "assistant" else ()):
            arguments = self.keep(call.function.arguments, JSON, Classification.RESTRICTED)
            started = ToolCallStarted(call_id=call.id, tool_name=call.function.name, input=arguments)
            name = self.emit(started, f"{suffix}-call{number}", at_ms + 1 + number, parent=self.previous)
            self.open_calls.setdefault(call.id, []).append((name, call.function.name))

    def invocation(self, message: _Message) -> ModelInvocationCompleted:
        calls = message.tool_calls or []
        return ModelInvocationCompleted(
            provider=self.origin.provider,
            model=self.origin.model,
            prompt_template=self.template,
            finish_reason="tool_calls" if calls else "stop",
            tool_call_ids=tuple(call.id for call in calls),
            completion=None if message.content is None else self.text(message.content),
        )

    def answer(self, index: int, message: _Message) -> tuple[ToolCallCompleted, str | None]:
        call_id = message.tool_call_id
        if call_id is None:
            raise InvalidRun(f"traj.{index}.tool_call_id: a tool's answer must say which call it answers")
        waiting = self.open_calls.get(call_id)
        cause, tool = waiting.pop(0) if waiting else (None, message.name)
        if tool is None:
            raise InvalidRun(f"traj.{index}.name: neither the answer nor a call before it names the tool")
        return ToolCallCompleted(call_id=call_id, tool_name=tool, output=self.text(message.content or "")), cause

    def reward(self, reward: float, end: int) -> None:
        evidence = None
        if self.run.info is not None:
            evidence = self.keep(_canonical(self.run.info), JSON, Classification.RESTRICTED)
        verdict = FeedbackReceived(
            score=reward,
            label="success" if reward >= 1.0 else "failure",
            reviewer_kind="system",
            evaluator="tau-bench",
            evidence=evidence,
        )
        self.emit(verdict, "reward", end * 1000, parent=self.previous, decision=self.acted)

    def emit(self, data: Model, suffix: str, at_ms: int, *, parent: str | None, decision: int | None = None) -> str:
        run, number = self.run, self.decision if decision is None else decision
        start = self.origin.start + timedelta(days=run.trial, minutes=10 * run.task_id)
        made = event(
            data,
            event_id=f"{self.workflow_id}-{suffix}",
            workflow_id=self.workflow_id,
            occurred_at=start + timedelta(milliseconds=at_ms),
            tenant_id=self.origin.tenant_id,
            source=SOURCE,
            agent_id=self.origin.dataset,
            decision_id=f"{self.workflow_id}-d{number:02d}" if number else None,
            parent_event_id=parent,
            # The trials of one task are one thread: what one asks for to compare them.
            correlation_id=f"{self.origin.dataset}-{run.task_id:03d}",
        )
        self.events.append(made)
        return made.event_id

    def text(self, content: str, classification: Classification = Classification.RESTRICTED) -> ArtifactRef:
        return self.keep(content, TEXT, classification)

    def keep(self, content: str, media_type: str, classification: Classification) -> ArtifactRef:
        kept = artefact(content.encode(), media_type, classification)
        self.artefacts[kept.ref.sha256] = kept
        return kept.ref


def _template(text: str, sha256: str) -> PromptTemplate:
    """Its id is the text's first heading as a slug, its version the beginning of its hash."""
    heading = re.search(r"^#+\s*(.+)$", text, re.MULTILINE)
    slug = re.sub(r"[^a-z0-9]+", "-", heading.group(1).lower()).strip("-")[:100] if heading else ""
    return PromptTemplate(template_id=slug or "system-prompt", version=f"sha-{sha256[:12]}", sha256=sha256)


def _canonical(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
