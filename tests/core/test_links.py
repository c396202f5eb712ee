"""Chains of parents, calls of tools with their ends, and what hangs loose: listed, never dropped, in any order."""

from __future__ import annotations

import random
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.core import links, reading
from replayer.core.links import calls, chain
from replayer.core.page import Page
from replayer.core.reading import WorkflowFilter
from tests.core.timelines import at, document, materialised, one_topic
from tests.drawn import MemoryRows


def made(*events: dict[str, Any]) -> MemoryRows:
    return materialised(one_topic(*events))


def said(event_id: str, second: int = 0, parent: str | None = None, **more: Any) -> dict[str, Any]:
    fields = {"event_id": event_id, "occurred_at": at(second), **more}
    return document("workflow.response_generated", **fields, **({} if parent is None else {"parent_event_id": parent}))


def ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["event_id"] for item in items]


def test_a_chain_goes_from_the_root_to_the_event() -> None:
    rows = made(said("a", 0), said("b", 1, "a"), said("c", 2, "b"), said("x", 3, "a"))
    found = chain(rows, "acme", "w", "c")
    assert found is not None
    assert (ids(found.items), found.ends, found.missing) == (["a", "b", "c"], "root", None)
    assert found.items == [item for item in reading.timeline(rows, "acme", "w").items if item["event_id"] != "x"]
    assert chain(rows, "acme", "w", "none") is None


def test_a_parent_that_is_not_there_is_named_until_it_comes() -> None:
    child = said("c", 2, "b")
    found = chain(made(child), "acme", "w", "c")
    assert found is not None
    assert (ids(found.items), found.ends, found.missing) == (["c"], "missing", "b")
    later = chain(made(child, said("b", 1, "a"), said("a", 0)), "acme", "w", "c")
    assert later is not None
    assert (ids(later.items), later.ends) == (["a", "b", "c"], "root")


@pytest.mark.parametrize("parents", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "b"}])
def test_a_chain_that_bites_its_tail_ends(parents: dict[str, str]) -> None:
    rows = made(*(said(name, number, parent) for number, (name, parent) in enumerate(parents.items())))
    found = chain(rows, "acme", "w", "a")
    assert found is not None
    assert found.ends == "cycle"
    assert sorted(ids(found.items)) == sorted(parents)


def test_a_chain_is_followed_for_so_long() -> None:
    rows = made(*(said(f"e{n}", n, f"e{n - 1}" if n else None) for n in range(20)))
    with mock.patch.object(links, "MAX_CHAIN", 5):
        found = chain(rows, "acme", "w", "e19")
    assert found is not None
    assert (ids(found.items), found.ends) == ([f"e{n}" for n in range(15, 20)], "length")


def test_of_several_variants_the_earliest_is_the_parent() -> None:
    rows = made(said("a", 5, source="late"), said("a", 1, source="early"), said("b", 6, "a"))
    found = chain(rows, "acme", "w", "b")
    assert found is not None
    assert [(item["event_id"], item["source"]) for item in found.items] == [("a", "early"), ("b", "s")]


def test_a_parent_in_another_workflow_is_found_by_their_thread() -> None:
    thread = {"correlation_id": "k", "trace_id": "1" * 32}
    rows = made(
        said("a", 5, workflow_id="v", source="late", **thread),
        said("a", 1, workflow_id="v", source="early", **thread),
        said("a", 2, workflow_id="u", correlation_id="other"),
        said("b", 3, "a", **thread),
        *(said(f"x{n}", n, workflow_id=f"t{n}", **thread) for n in range(5)),
    )
    found = chain(rows, "acme", "w", "b")
    assert found is not None
    assert (ids(found.items), found.ends, found.missing) == (["b"], "missing", "a")

    def ask(wanted: WorkflowFilter, after: Any = None, budget: int = 100) -> Page:
        return links.located(rows, "a", wanted, after, 10, budget)

    for wanted in (WorkflowFilter(correlation_id="k"), WorkflowFilter(trace_id="1" * 32), WorkflowFilter(**thread)):
        (item,) = ask(wanted).items
        assert (item["workflow_id"], item["source"], item["event_id"]) == ("v", "early", "a")
    assert ask(WorkflowFilter(correlation_id="k", tenant_id="umbrella")).items == []
    assert ask(WorkflowFilter(correlation_id="nobody")).items == []
    page, walked = ask(WorkflowFilter(correlation_id="k"), None, 1), []
    while page.next is not None:
        walked += page.items
        page = ask(WorkflowFilter(correlation_id="k"), page.next, 1)
    assert [one["workflow_id"] for one in (*walked, *page.items)] == ["v"]


def test_orphans_are_listed_and_only_they() -> None:
    rows = made(said("a", 0), said("b", 1, "a"), said("c", 2, "gone"), said("d", 3, "never"), said("e", 4, "c"))
    for order in ("occurred", "commit"):
        found = reading.timeline(rows, "acme", "w", order, orphans=True)
        assert ids(found.items) == ["c", "d"]
    first = reading.timeline(rows, "acme", "w", limit=1, orphans=True)
    rest = reading.timeline(rows, "acme", "w", after=first.next, orphans=True)
    assert ids(first.items) + ids(rest.items) == ["c", "d"]


def tool(kind: str, call_id: str, second: int, **data: Any) -> dict[str, Any]:
    stated: dict[str, Any] = {"call_id": call_id, "tool_name": "crm", **data}
    if kind == "failed":
        stated["error_class"] = "E"
    with mock.patch.dict("tests.core.timelines._DATA", {f"tool.call_{kind}": [stated]}):
        return document(f"tool.call_{kind}", event_id=f"{call_id}-{kind}-{second}", occurred_at=at(second))


def test_calls_find_their_ends_and_what_has_only_one_of_the_two_says_so() -> None:
    events = [
        tool("started", "c1", 0, tool_version="2"), tool("completed", "c1", 3, latency_ms=7),
        tool("started", "c2", 1), tool("started", "c2", 4), tool("failed", "c2", 5),
        tool("started", "c3", 6),
        tool("completed", "c4", 2),
    ]  # fmt: skip
    random.Random(1).shuffle(events)
    found = calls(made(*events), "acme", "w", None, 10).items
    assert [
        (one["call_id"], one["status"], one["attempts"], one["started"], one["ended"], one["orphan"]) for one in found
    ] == [
        ("c1", "completed", 1, "c1-started-0", "c1-completed-3", False),
        ("c2", "failed", 2, "c2-started-1", "c2-failed-5", False),
        ("c4", "completed", 0, None, "c4-completed-2", True),
        ("c3", "pending", 1, "c3-started-6", None, False),
    ]
    assert (found[0]["tool_name"], found[0]["tool_version"], found[0]["latency_ms"]) == ("crm", "2", 7)


@given(st.permutations(range(6)), st.integers(1, 4))
def test_no_order_of_arrival_changes_chains_calls_or_orphans(order: list[int], limit: int) -> None:
    events = [
        said("a", 0), said("b", 1, "a"), said("c", 2, "gone"),
        tool("started", "c1", 3), tool("completed", "c1", 4), tool("failed", "c2", 5),
    ]  # fmt: skip
    rows, straight = made(*(events[n] for n in order)), made(*events)
    assert [ids(chain(one, "acme", "w", "b").items) for one in (rows, straight)] == [["a", "b"]] * 2
    assert ids(reading.timeline(rows, "acme", "w", orphans=True).items) == ["c"]
    whole = calls(straight, "acme", "w", None, 10).items
    paged, after = [], None
    while True:
        page = calls(rows, "acme", "w", after, limit)
        paged += page.items
        if (after := page.next) is None:
            break
    assert paged == whole
