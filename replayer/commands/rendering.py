"""A workflow's timeline as a person wants to read it: what happened, when, how long it took, what stands out.

Takes what the web views serve (`/v1/workflows/{id}`, its `/timeline`), gives what rich prints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from replayer.commands import wording

Item = Mapping[str, Any]

_STATUS = {"completed": "green", "failed": "red", "overridden": "yellow", "running": "cyan"}
_LOUD = {
    "workflow.human_override": "yellow",
    "workflow.failed": "red",
    "workflow.completed": "green",
    "model.invocation_failed": "red",
    "tool.call_failed": "red",
    "stage.failed": "red",
}
_VERDICTS = {"deny": "red", "redact": "yellow", "escalate": "yellow"}


def timeline(workflow: Mapping[str, Any], items: Sequence[Item], *, grouped: bool = True) -> RenderableType:
    """The whole page: a head, and the events in the order given, by decision where `grouped`."""
    workflow, items = wording.clean(workflow), wording.clean(items)
    parts: list[RenderableType] = [_head(workflow)]
    groups = _by_decision(items) if grouped else [(None, list(items))]
    for number, (decision, members) in enumerate(groups, 1):
        parts += [Text(), _title(number, decision, members) if grouped else Text("Events", "bold"), _events(members)]
    return Group(*parts)


def _head(workflow: Mapping[str, Any]) -> Panel:
    status = str(workflow["status"])
    lines = [
        Text.assemble(
            (status.upper(), f"bold {_STATUS.get(status, 'white')}"),
            f"  {workflow['events']} events",
            _span(workflow.get("first_occurred_at"), workflow.get("last_occurred_at")),
        )
    ]
    for label, name in (("agents", "agents"), ("prompts", "templates"), ("models", "models"), ("tools", "tools")):
        if workflow.get(name):
            lines.append(Text.assemble((f"{label:<9}", "dim"), ", ".join(workflow[name])))
    if outcomes := workflow.get("policy_outcomes"):
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in outcomes.items())
        lines.append(Text.assemble((f"{'policy':<9}", "dim"), verdicts))
    if odd := _oddities(workflow.get("marks") or {}):
        lines.append(Text.assemble((f"{'marks':<9}", "dim"), (odd, "yellow")))
    for gap in workflow.get("gaps") or ():
        where = f"{gap['topic']}[{gap['partition']}] {gap['start']} to {gap['end'] - 1}"
        lines.append(Text(f"events may be missing: {where} had expired before they were read", "bold yellow"))
    title = Text.assemble((str(workflow["workflow_id"]), "bold"), f"  ({workflow['tenant_id']})")
    return Panel(Text("\n").join(lines), title=title, title_align="left", expand=False)


def _span(first: str | None, last: str | None) -> str:
    if first is None or last is None:
        return ""
    lasted = wording.duration((_when(last) - _when(first)).total_seconds() * 1000)
    return f" from {_when(first):%Y-%m-%d %H:%M:%S} UTC over {lasted}"


def _oddities(marks: Mapping[str, Any]) -> str:
    """Counts that are not zero, and lists that are not empty."""
    told = []
    for name, value in marks.items():
        if isinstance(value, int) and value:
            told.append(f"{value} {name.replace('_', ' ')}")
        elif isinstance(value, list) and value:
            told.append(f"{name.replace('_', ' ')}: {', '.join(map(str, value))}")
    return ", ".join(told)


def _by_decision(items: Iterable[Item]) -> list[tuple[str | None, list[Item]]]:
    """Decisions in the order in which they begin, the workflow's own events last."""
    groups: dict[str | None, list[Item]] = {}
    for item in items:
        groups.setdefault(item["decision_id"], []).append(item)
    own = groups.pop(None, None)
    return [*groups.items(), *([(None, own)] if own else [])]


def _title(number: int, decision: str | None, members: Sequence[Item]) -> Text:
    times = [_when(item["occurred_at"]) for item in members]
    lasted = wording.duration((max(times) - min(times)).total_seconds() * 1000)
    name = ("The workflow itself", "bold") if decision is None else (f"Decision {number}", "bold")
    about = f", {len(members)} event{'s' if len(members) > 1 else ''}"
    return Text.assemble(
        name, f"  {decision}" if decision else "", (f"{about}, {lasted}" if lasted != "0 ms" else about, "dim")
    )


def _events(members: Sequence[Item]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="left", no_wrap=True, style="dim")
    grid.add_column(justify="right", no_wrap=True, style="dim", min_width=9)
    grid.add_column(no_wrap=True, min_width=16)
    marked = any(map(_odd, members))
    if marked:
        grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    days = {item["occurred_at"][:10] for item in members}
    times = [_when(item["occurred_at"]) for item in members]
    since = [None, *((later - earlier).total_seconds() * 1000 for earlier, later in pairwise(times))]
    for item, moment, passed in zip(members, times, since, strict=True):
        clock = f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"
        grid.add_row(
            f"{moment:%m-%d} {clock}" if len(days) > 1 else clock,
            "" if passed is None else f"+{wording.duration(passed)}" if passed >= 0 else wording.duration(passed),
            Text(f"{wording.sign(item['event_type'])} {wording.word(item['event_type'])}", _style(item)),
            *([Text(_odd(item), "bold yellow")] if marked else []),
            Text(wording.said(item["event_type"], item["data"]), _style(item)),
        )
    return grid


def _odd(item: Item) -> str:
    return " ".join(f"⚠ {mark}" for mark in wording.marks(item.get("marks") or {}))


def _style(item: Item) -> str:
    if item["event_type"] == "policy.evaluated":
        return _VERDICTS.get((item["data"] or {}).get("outcome", ""), "")
    return _LOUD.get(item["event_type"], "")


def _when(text: str) -> datetime:
    return datetime.fromisoformat(text)
