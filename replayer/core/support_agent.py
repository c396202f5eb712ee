"""One case of a customer-support agent, as its services would report it: lifelike, and the same for the same dice.

A case has one to three turns, each a decision: request, triage, plan, retrieval, tools, model, policy, perhaps a
person, answer, perhaps feedback. The prompt template `support-answer` comes in two versions that differ measurably:
version 2 answers in about 60 % of version 1's time and people override it less than half as often.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from replayer.core import support_texts as texts
from replayer.core.story import Dice, Happening, Identity, Kept, Story
from topics.classification import Classification
from topics.families.feedback import FeedbackReceived
from topics.families.model import ModelInvocationCompleted, ModelInvocationFailed, Tokens
from topics.families.policy import PolicyEvaluated
from topics.families.stage import StageCompleted, StageStarted
from topics.families.tool import (
    RetrievalPerformed,
    RetrievedDocument,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallStarted,
)
from topics.families.workflow import (
    HumanOverride,
    PlanCreated,
    PlanStep,
    RequestReceived,
    ResponseGenerated,
    ToolSelected,
    WorkflowCompleted,
    WorkflowFailed,
)
from topics.fields import LatencyBand

Verdict = Literal["allow", "deny", "redact", "escalate"]
Action = Literal["replace", "reject", "escalate"]


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the answering prompt, and how the agent fares with it. Latency: median, milliseconds."""

    prompt: texts.Prompt
    latency_ms: float
    override_rate: float
    liked_rate: float


V1 = Version(texts.ANSWER_V1, latency_ms=1900.0, override_rate=0.21, liked_rate=0.62)
V2 = Version(texts.ANSWER_V2, latency_ms=1150.0, override_rate=0.07, liked_rate=0.81)


@dataclass(frozen=True, slots=True)
class Case:
    """A case to be told: whose it is, when it starts (microseconds since the epoch), which prompt answers it."""

    identity: Identity
    start_us: int
    version: Version


def case(dice: Dice, about: Case) -> list[Happening]:
    """Everything that happens in one case, in the order of its clock."""
    story = _SupportCase(dice, about)
    story.tell()
    return sorted(story.happenings, key=lambda happening: happening.event.occurred_at)


class _SupportCase(Story):
    """One case, told turn by turn."""

    def __init__(self, dice: Dice, about: Case) -> None:
        super().__init__(dice, about.identity, about.start_us)
        self.about = about
        self.order = f"A-{1000 + dice.randrange(40)}"
        self.turn = 0

    def tell(self) -> None:
        intent = self.dice.choice(texts.INTENTS)
        turns, cause, escalated = 1 + self.dice.randrange(3), None, False
        for self.turn in range(1, turns + 1):
            self.decision_id = f"{self.identity.workflow_id}-t{self.turn}"
            asked = self.ask(intent, cause)
            if self.turn == 1:
                self.triage(intent, asked)
            if not self.look_up(intent, asked):
                failed = WorkflowFailed(error_class="ToolUnavailable", error_code="tool_down", retryable=True)
                self.happen(failed, "support-agent", 15, parent=asked)
                return
            cause, escalated = self.answer(intent, asked)
            if escalated:
                break
            self.at_us += int((4 + self.dice.expovariate(1 / 40)) * 1e6)  # the customer reads, and writes again
        if self.dice.random() < 0.06:
            return  # still open
        duration = (self.at_us - self.about.start_us) // 1000
        done = WorkflowCompleted(outcome="escalated" if escalated else "resolved", duration_ms=duration)
        self.decision_id = None
        self.happen(done, "support-agent", 20, parent=cause)

    def ask(self, intent: texts.Intent, cause: str | None) -> str:
        said = self.text(self.dice.choice(intent.requests).format(order=self.order))
        channel = self.dice.choice(("chat", "chat", "email", "phone"))
        data = RequestReceived(channel=channel, language="en", request=said[0], sequence=self.turn)
        return self.happen(data, "support-gateway", 0, said[1], parent=cause)

    def triage(self, intent: texts.Intent, asked: str) -> None:
        execution = f"{self.identity.workflow_id}-triage"
        queue = self.dice.choice(("support-fast", "support-standard"))
        started = StageStarted(execution_id=execution, stage="triage", stage_version="3", queue=queue, attempt=1)
        begun = self.happen(started, "support-gateway", 4, parent=asked)
        took = self.latency(45, 0.4)
        routed = self.json(f'{{"intent":"{intent.name}","route":"{intent.route}"}}', Classification.INTERNAL)
        completed = StageCompleted(
            execution_id=execution,
            stage="triage",
            stage_version="3",
            route=intent.route,
            queue=queue,
            attempt=1,
            latency_ms=took,
            artefact=routed[0],
        )
        self.happen(completed, "support-gateway", took, routed[1], parent=begun)

    def look_up(self, intent: texts.Intent, asked: str) -> bool:
        """Plan, retrieve, call the tools. False where a tool stayed down."""
        steps = tuple(PlanStep(step_id=f"s{n}", action=f"call {t}", tool_name=t) for n, t in enumerate(intent.tools, 1))
        plan = PlanCreated(plan_id=f"{self.identity.workflow_id}-p{self.turn}", steps=steps)
        planned = self.happen(plan, "support-agent", 30, parent=asked)
        if self.dice.random() < 0.7:
            self.retrieve(intent, planned)
        return all(self.use(tool, number, planned) for number, tool in enumerate(intent.tools, 1))

    def retrieve(self, intent: texts.Intent, planned: str) -> None:
        found = tuple(
            RetrievedDocument(document_id=document.name, sha256=document.sha256, version="7", rank=rank, score=score)
            for rank, (document, score) in enumerate(zip(intent.documents, (0.91, 0.83, 0.74), strict=False), 1)
        )
        took = self.latency(70, 0.5)
        data = RetrievalPerformed(
            index_name="help-centre",
            index_version="2025-11",
            embedding_model="embed-small-3",
            documents=found,
            latency_ms=took,
            latency_band=_band(took, 100, 300),
        )
        self.happen(data, "retriever", took, parent=planned)

    def use(self, tool: str, number: int, planned: str) -> bool:
        call_id = f"{self.identity.workflow_id}-c{self.turn}{number}"
        others = tuple(name for name in texts.TOOLS if name != tool)[:2]
        selected = ToolSelected(tool_name=tool, tool_version="2", call_id=call_id, candidates=(tool, *others))
        chosen = self.happen(selected, "support-agent", 12, parent=planned)
        given = self.json(f'{{"order":"{self.order}"}}')
        for attempt in (1, 2, 3):
            start = ToolCallStarted(call_id=call_id, tool_name=tool, tool_version="2", attempt=attempt, input=given[0])
            begun = self.happen(start, "tool-runner", 5, given[1], parent=chosen)
            took = self.latency(140, 0.7)
            if self.dice.random() >= 0.05 * attempt * attempt:  # a tool that is down tends to stay down
                got = self.json(f'{{"order":"{self.order}","tool":"{tool}","status":"ok"}}')
                completed = ToolCallCompleted(
                    call_id=call_id,
                    tool_name=tool,
                    tool_version="2",
                    attempt=attempt,
                    latency_ms=took,
                    latency_band=_band(took, 200, 800),
                    output=got[0],
                )
                self.happen(completed, "tool-runner", took, got[1], parent=begun)
                return True
            failed = ToolCallFailed(
                call_id=call_id,
                tool_name=tool,
                tool_version="2",
                attempt=attempt,
                latency_ms=took + 2000,
                latency_band="timeout",
                error_class="Timeout",
                error_code="upstream_timeout",
                retryable=attempt < 3,
            )
            self.happen(failed, "tool-runner", took + 2000, parent=begun)
        return False

    def answer(self, intent: texts.Intent, asked: str) -> tuple[str, bool]:
        """Model, policy, perhaps a person, the answer, perhaps feedback. (event id of the answer, case escalated)"""
        answered, said = self.invoke(intent, asked)
        verdict = self.judge(answered)
        overridden = verdict == "escalate" or self.dice.random() < self.about.version.override_rate
        cause, response, reply = answered, *said
        if overridden:
            response, reply = self.text(intent.corrected.format(order=self.order))
            action: Action = "escalate"
            if verdict != "escalate":
                action = self.dice.choice(("replace", "replace", "reject"))
            override = HumanOverride(
                action=action,
                actor_id=f"person-{self.dice.randrange(12):02d}",
                actor_role=self.dice.choice(("support-lead", "support-senior")),
                overridden_event_id=answered,
                reason_code=self.dice.choice(("wrong_policy", "tone", "wrong_facts")),
                replacement=response,
            )
            cause = self.happen(override, "review-desk", self.latency(38_000, 0.6), reply, parent=answered)
        finish = {"deny": "refused", "redact": "redacted"}.get(verdict, "answered")
        generated = ResponseGenerated(response=response, channel="chat", finish_reason=finish, sequence=self.turn)
        sent = self.happen(generated, "support-agent", 25, reply, parent=cause)
        self.feedback(sent, overridden)
        return sent, verdict == "escalate"

    def invoke(self, intent: texts.Intent, asked: str) -> tuple[str, Kept]:
        prompt = self.about.version.prompt
        told = self.text(prompt.text, Classification.INTERNAL)
        if self.dice.random() < 0.03:
            failed = ModelInvocationFailed(
                provider="examplai",
                model="large-2",
                prompt_template=prompt.template,
                attempt=1,
                error_class="RateLimited",
                error_code="429",
                retryable=True,
            )
            self.happen(failed, "support-agent", self.latency(300, 0.3), parent=asked)
        said = self.text(intent.answer.format(order=self.order))
        took = self.latency(self.about.version.latency_ms, 0.35)
        completed = ModelInvocationCompleted(
            provider="examplai",
            model="large-2",
            model_version="2025-10-01",
            prompt_template=prompt.template,
            latency_ms=took,
            latency_band=_band(took, 1000, 2500),
            tokens=Tokens(input=620 + self.dice.randrange(900), output=60 + self.dice.randrange(240)),
            finish_reason="stop",
            temperature=0.2,
            prompt=told[0],
            completion=said[0],
        )
        return self.happen(completed, "support-agent", took, (*told[1], *said[1]), parent=asked), said

    def judge(self, answered: str) -> Verdict:
        rule: tuple[str, Verdict, str] = ("none", "allow", "within_policy")
        thrown = self.dice.random()
        if thrown < 0.03:
            rule = ("legal-threat", "deny", "legal_advice")
        elif thrown < 0.12:
            rule = ("personal-data", "redact", "personal_data")
        elif thrown < 0.16:
            rule = ("refund-over-limit", "escalate", "amount_over_limit")
        data = PolicyEvaluated(
            policy_id="support-output",
            policy_version="12",
            rule_id=rule[0],
            outcome=rule[1],
            enforced_action=rule[1],
            reason_code=rule[2],
            evaluated_event_id=answered,
            latency_ms=self.latency(9, 0.3),
        )
        self.happen(data, "policy-guard", 10, parent=answered)
        return rule[1]

    def feedback(self, sent: str, overridden: bool) -> None:
        if self.dice.random() > 0.4:
            return
        liked = self.dice.random() < (0.7 if overridden else self.about.version.liked_rate)
        data = FeedbackReceived(
            score=1.0 if liked else -1.0,
            label="thumbs_up" if liked else "thumbs_down",
            reviewer=self.identity.subject_id,
            reviewer_kind="human",
            downstream_outcome=None if liked else "contacted_again",
            target_event_id=sent,
        )
        # Feedback comes later and does not hold up what follows.
        later_us = int((20 + self.dice.expovariate(1 / 600)) * 1e6)
        self.happen(data, "survey", 0, parent=sent, at_us=self.at_us + later_us)


def _band(took_ms: int, fast_ms: int, normal_ms: int) -> LatencyBand:
    return "fast" if took_ms < fast_ms else "normal" if took_ms < normal_ms else "slow"
