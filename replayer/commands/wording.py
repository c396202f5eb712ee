"""An event as a person says it: a sign, a word, and what matters about it. Pure: dicts in, text out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Data = Mapping[str, Any]


def clean(value: Any) -> Any:
    """The same JSON without control characters: a producer must not steer the terminal of whoever reads it."""
    if isinstance(value, str):
        return value.translate(_CONTROLS)
    if isinstance(value, Mapping):
        return {clean(name): clean(inner) for name, inner in value.items()}
    return [clean(inner) for inner in value] if isinstance(value, list | tuple) else value


def sign(event_type: str) -> str:
    """One character; unknown types have one, too."""
    return _EVENTS.get(event_type, _UNKNOWN)[0]


def word(event_type: str) -> str:
    """What kind of thing happened, in a word or two."""
    return _EVENTS[event_type][1] if event_type in _EVENTS else event_type


def said(event_type: str, data: Data | None) -> str:
    """What matters about it, on one line; projections may lack any field."""
    told = _EVENTS.get(event_type, _UNKNOWN)[2](data or {})
    return " · ".join(part for part in told if part)


def marks(marked: Mapping[str, Any]) -> list[str]:
    """The marks that are set, in words."""
    return [_MARKS.get(name, name.replace("_", " ")) for name, value in marked.items() if value]


def duration(milliseconds: float) -> str:
    """Rounded to what a person reads: 850 ms, 12.3 s, 4 min 05 s, 2 h 07 min, 3 d 4 h."""
    if abs(milliseconds) < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if abs(seconds) < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(abs(seconds)), 60)
    before = "-" if seconds < 0 else ""
    if minutes < 60:
        return f"{before}{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{before}{hours} h {minutes:02d} min"
    return f"{before}{hours // 24} d {hours % 24} h"


def size(count: int) -> str:
    """Bytes as a person reads them."""
    return (
        f"{count} B" if count < 1024 else f"{count / 1024:.1f} KB" if count < 1 << 20 else f"{count / (1 << 20):.1f} MB"
    )


_CONTROLS = dict.fromkeys(
    [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F)], "\N{REPLACEMENT CHARACTER}"
)
_MARKS = {
    "conflict": "in conflict",
    "late": "late",
    "future_version": "newer schema",
    "child_before_parent": "before its cause",
}


def _text(ref: Any) -> str:
    """A reference by the beginning of its hash: enough to find it, and to see that two are the same."""
    return f"{size(ref['size_bytes'])} [{ref['sha256'][:8]}]" if isinstance(ref, Mapping) else ""


def template(said: Any) -> str:
    """template_id@version; empty for anything else."""
    return f"{said['template_id']}@{said['version']}" if isinstance(said, Mapping) else ""


def _took(data: Data) -> str:
    return duration(data["latency_ms"]) if data.get("latency_ms") is not None else ""


def _tries(data: Data) -> str:
    return f"attempt {data['attempt']}" if data.get("attempt", 1) > 1 else ""


def _error(data: Data) -> str:
    code = f" ({data['error_code']})" if data.get("error_code") else ""
    return f"{data.get('error_class', 'error')}{code}{', may be retried' if data.get('retryable') else ''}"


def _tool(data: Data) -> str:
    return str(data.get("tool_name", ""))


def _plan(data: Data) -> tuple[str, ...]:
    steps = data.get("steps") or []
    return (" → ".join(step.get("tool_name") or step["action"] for step in steps), _text(data.get("plan")))


def _retrieved(data: Data) -> tuple[str, ...]:
    documents = data.get("documents") or []
    names = ", ".join(document["document_id"] for document in documents[:3])
    more = f" and {len(documents) - 3} more" if len(documents) > 3 else ""
    return (str(data.get("index_name", "")), f"{names}{more}", _took(data))


def _invoked(data: Data) -> tuple[str, ...]:
    tokens = data.get("tokens")
    counted = f"{tokens['input']}→{tokens['output']} tokens" if tokens else ""
    calls = data.get("tool_call_ids")
    wants = f"calls {len(calls)} tool{'s' if len(calls) > 1 else ''}" if calls else ""
    model = f"{data.get('provider', '')}/{data.get('model', '')}"
    return (template(data.get("prompt_template")), model, _took(data), counted, wants, _text(data.get("completion")))


def _judged(data: Data) -> tuple[str, ...]:
    version = f"@{data['policy_version']}" if data.get("policy_version") else ""
    rule = f"{data.get('policy_id', '')}{version}" + (f"/{data['rule_id']}" if data.get("rule_id") else "")
    enforced = data.get("enforced_action")
    different = f"enforced: {enforced}" if enforced and enforced != data.get("outcome") else ""
    return (str(data.get("outcome", "")).upper(), rule, str(data.get("reason_code") or ""), different)


def _feedback(data: Data) -> tuple[str, ...]:
    score = f"{data['score']:g}" if data.get("score") is not None else ""
    return (
        str(data.get("label") or ""),
        score and f"score {score}",
        str(data.get("evaluator") or data.get("reviewer_kind") or ""),
        str(data.get("downstream_outcome") or ""),
    )


def _stage(data: Data) -> tuple[str, ...]:
    route = f"to {data['route']}" if data.get("route") else ""
    return (str(data.get("stage", "")), route, str(data.get("queue") or ""), _tries(data))


def _ended(data: Data) -> tuple[str, ...]:
    lasted = duration(data["duration_ms"]) if data.get("duration_ms") is not None else ""
    return (str(data.get("outcome") or ""), lasted and f"after {lasted}")


_EVENTS: Mapping[str, tuple[str, str, Callable[[Data], tuple[str, ...]]]] = {
    "workflow.request_received": ("▶", "request", lambda d: (str(d.get("channel") or ""), _text(d.get("request")))),
    "workflow.plan_created": ("≡", "plan", _plan),
    "workflow.tool_selected": ("◇", "tool chosen", lambda d: (_tool(d),)),
    "workflow.response_generated": (
        "◀",
        "response",
        lambda d: (str(d.get("finish_reason") or ""), _text(d.get("response"))),
    ),
    "workflow.human_override": (
        "☻",
        "human override",
        lambda d: (str(d.get("action", "")), str(d.get("actor_role") or ""), str(d.get("reason_code") or "")),
    ),
    "workflow.completed": ("■", "completed", _ended),
    "workflow.failed": ("✖", "failed", lambda d: (_error(d),)),
    "model.invocation_completed": ("✦", "model", _invoked),
    "model.invocation_failed": ("✖", "model failed", lambda d: (template(d.get("prompt_template")), _error(d))),
    "tool.call_started": ("┌", "tool call", lambda d: (_tool(d), _tries(d), _text(d.get("input")))),
    "tool.call_completed": ("└", "tool answered", lambda d: (_tool(d), _took(d), _text(d.get("output")))),
    "tool.call_failed": ("✖", "tool failed", lambda d: (_tool(d), _tries(d), _took(d), _error(d))),
    "retrieval.performed": ("⌕", "retrieval", _retrieved),
    "policy.evaluated": ("⚖", "policy", _judged),
    "feedback.received": ("★", "feedback", _feedback),
    "stage.started": ("┌", "stage started", _stage),
    "stage.completed": (
        "└",
        "stage done",
        lambda d: (*_stage(d), _took(d), _text(d.get("artefact"))),
    ),
    "stage.failed": ("✖", "stage failed", lambda d: (*_stage(d), _error(d))),
}
_UNKNOWN: tuple[str, str, Callable[[Data], tuple[str, ...]]] = ("?", "", lambda _: ())
