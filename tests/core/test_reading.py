"""Pages neither lose nor repeat, filters are exact, marks say what they mean."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replayer.core.errors import InvalidPosition
from replayer.core.page import Page, Position
from replayer.core.reading import (
    WorkflowFilter,
    decision,
    decisions,
    list_workflows,
    timeline,
    workflow,
)
from tests.core.timelines import TOPICS, arrived, at, document, documents, fold, materialised, recovered, with_changelog
from tests.drawn import MemoryRows
from topics.fields import micros, rfc3339, utc
from topics.registry import EVENT_TYPES, FAMILIES

Ask = Callable[[Position | None], Page]


def made(*events: dict[str, Any]) -> MemoryRows:
    return materialised(arrived([(TOPICS[n % 3], json.dumps(event).encode()) for n, event in enumerate(events)]))


def walked(ask: Ask, between: Callable[[], None] = lambda: None) -> list[dict[str, Any]]:
    """All items, page after page; `between` runs after each."""
    items: list[dict[str, Any]] = []
    position: Position | None = None
    for _ in range(10_000):
        page = ask(position)
        items += page.items
        if page.next is None:
            return items
        assert position is None or page.next > position, "no progress"
        position = page.next
        between()
    raise AssertionError("no end")


def name_of(item: dict[str, Any]) -> tuple[str, str]:
    return item["event_id"], item["variant"]


many = st.lists(documents(workflows=("w", "v")), min_size=1, max_size=25)


@given(many, st.sampled_from(["occurred", "commit"]), st.integers(1, 5), st.integers(1, 7))
@settings(max_examples=60)
def test_pages_of_a_timeline_are_the_timeline(
    events: list[dict[str, Any]], order: Any, limit: int, budget: int
) -> None:
    rows = made(document("policy.evaluated", event_id="first"), *events)
    whole = timeline(rows, "acme", "w", order, limit=1000)
    assert whole.next is None
    paged = walked(lambda after: timeline(rows, "acme", "w", order, after=after, limit=limit, scan_budget=budget))
    assert paged == whole.items
    if order == "occurred":
        key = [(item["occurred_at"], item["event_id"], item["variant"]) for item in paged]
    else:
        key = [item["commit_ts"] for item in paged]
    assert key == sorted(set(key))


@given(many, many, st.sampled_from(["occurred", "commit"]), st.integers(1, 3))
@settings(max_examples=60)
def test_a_reader_loses_and_repeats_nothing_while_events_arrive(
    events: list[dict[str, Any]], arriving: list[dict[str, Any]], order: Any, limit: int
) -> None:
    records = arrived([(TOPICS[n % 3], json.dumps(e).encode()) for n, e in enumerate([*events, *arriving])])
    now, later = records[: len(events)], records[len(events) :]
    rows = materialised(now)
    before = {name_of(item) for item in timeline(rows, "acme", "w", limit=1000).items}

    def arrive() -> None:
        if later:
            rows.write(fold(rows, [later.pop(0)]).stored)

    read = [
        name_of(item)
        for item in walked(lambda after: timeline(rows, "acme", "w", order, after=after, limit=limit), arrive)
    ]
    assert len(read) == len(set(read))
    assert before <= set(read)
    if order == "commit":  # by commit, nothing is ever added behind a reader
        whole = [name_of(item) for item in timeline(rows, "acme", "w", "commit", limit=1000).items]
        assert read == whole[: len(read)]


@given(
    many,
    st.integers(0, 5),
    st.integers(0, 5),
    st.sampled_from([None, *FAMILIES]),
    st.sampled_from(["occurred", "commit"]),
    st.integers(1, 4),
)
@settings(max_examples=60)
def test_a_part_of_a_timeline_is_what_a_filter_would_keep(
    events: list[dict[str, Any]], start: int, end: int, family: str | None, order: Any, limit: int
) -> None:
    rows = made(*events)
    whole = timeline(rows, "acme", "w", order, limit=1000).items
    kept = [
        item
        for item in whole
        if at(start).replace("Z", ".000000Z") <= item["occurred_at"] < at(end).replace("Z", ".000000Z")
        and family in (None, EVENT_TYPES[item["event_type"]].family)
    ]
    base = 1_738_324_800_000_000
    part = walked(
        lambda after: timeline(
            rows, "acme", "w", order, base + start * 1_000_000, base + end * 1_000_000, family, after, limit, 5
        )
    )
    assert part == kept


# names that begin with one another, in tenants that do too
tenants = st.sampled_from(["a", "ab", "\x01", "é"])
names = st.text(st.sampled_from("ab\x01é\U0001f600"), min_size=1, max_size=3)


@given(st.sets(st.tuples(tenants, names), min_size=1, max_size=20), st.integers(1, 4), st.integers(1, 5))
@settings(max_examples=60)
def test_pages_of_workflows_are_all_workflows_in_order(ids: set[tuple[str, str]], limit: int, budget: int) -> None:
    rows = made(*[document("policy.evaluated", tenant_id=tenant, workflow_id=wf) for tenant, wf in sorted(ids)])
    paged = walked(lambda after: list_workflows(rows, WorkflowFilter(), after, limit, budget))
    assert [(item["tenant_id"], item["workflow_id"]) for item in paged] == sorted(ids)
    for tenant in {tenant for tenant, _ in ids}:
        own = walked(lambda after, t=tenant: list_workflows(rows, WorkflowFilter(tenant_id=t), after, limit, budget))
        assert [(item["tenant_id"], item["workflow_id"]) for item in own] == sorted(i for i in ids if i[0] == tenant)


def test_a_page_of_workflows_is_complete_up_to_its_position() -> None:
    rows = made(*[document("policy.evaluated", workflow_id=f"w{n}", agent_id=f"a{n % 4}") for n in range(9)])
    page = list_workflows(rows, WorkflowFilter(agent_id="a3"), None, limit=10, scan_budget=5)
    assert ([item["workflow_id"] for item in page.items], page.next) == (["w3"], ("acme", "w4"))
    nothing = list_workflows(rows, WorkflowFilter(agent_id="a3"), ("acme", "w7"), limit=10, scan_budget=5)
    assert (nothing.items, nothing.next) == ([], None)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (WorkflowFilter(), ["w1", "w2", "w3"]),
        (WorkflowFilter(tenant_id="umbrella"), ["w3"]),
        (WorkflowFilter(tenant_id="umb"), []),
        (WorkflowFilter(status="completed"), ["w1"]),
        (WorkflowFilter(agent_id="a2"), ["w2"]),
        (WorkflowFilter(trace_id="1" * 32), ["w1"]),
        (WorkflowFilter(correlation_id="k"), ["w1", "w2"]),
        (WorkflowFilter(correlation_id="k", agent_id="a2"), ["w2"]),
        (WorkflowFilter(from_us=1_738_324_810_000_000), ["w1", "w2"]),
        (WorkflowFilter(from_us=1_738_324_810_000_001), ["w2"]),
        (WorkflowFilter(to_us=1_738_324_820_000_000), ["w1", "w3"]),
        (WorkflowFilter(from_us=1_738_324_805_000_000, to_us=1_738_324_805_000_001), ["w1"]),
    ],
)
def test_filters(wanted: WorkflowFilter, found: list[str]) -> None:
    rows = made(
        document("policy.evaluated", event_id="e1", workflow_id="w1", trace_id="1" * 32),
        document("workflow.completed", event_id="e2", workflow_id="w1", correlation_id="k", occurred_at=at(10)),
        document("policy.evaluated", workflow_id="w2", agent_id="a2", correlation_id="k", occurred_at=at(20)),
        document("policy.evaluated", workflow_id="w3", tenant_id="umbrella"),
    )
    assert [item["workflow_id"] for item in list_workflows(rows, wanted, None, 10).items] == found


def test_an_item_is_the_envelope_the_position_the_projection_and_the_marks() -> None:
    event = document(
        "workflow.response_generated",
        data={"text": "restricted", "channel": "chat"},
        decision_id="d",
        subject_id="s-1",
        occurred_at="2025-01-31T12:00:00.000001+01:00",
    )
    (item,) = timeline(made(event), "acme", "w").items
    assert item == {
        "event_id": "e", "event_type": "workflow.response_generated", "schema_version": 1, "family": "workflow-events",
        "workflow_id": "w", "tenant_id": "acme", "occurred_at": "2025-01-31T11:00:00.000001Z",
        "commit_ts": "2025-01-31T12:00:00.000000Z", "source": "s", "agent_id": "a", "decision_id": "d",
        "parent_event_id": None, "correlation_id": None, "original_event_id": None, "trace_id": None, "span_id": None,
        "key_id": None, "variant": item["variant"],
        "position": {"topic": "workflow-events", "partition": 0, "offset": 0, "index": 0},
        "data": {"channel": "chat"},
        "marks": {"conflict": False, "late": False, "future_version": False, "child_before_parent": False},
    }  # fmt: skip
    json.dumps(item)


def test_a_future_event_is_marked_and_has_no_data() -> None:
    (item,) = timeline(made(document("policy.evaluated", schema_version=2, data={"x": 1})), "acme", "w").items
    assert item["marks"]["future_version"]
    assert item["data"] is None


def test_a_child_before_its_parent_is_marked_wherever_the_parent_is() -> None:
    rows = made(
        document("policy.evaluated", event_id="parent", occurred_at=at(10)),
        document("policy.evaluated", event_id="child", occurred_at=at(9), parent_event_id="parent"),
        document("policy.evaluated", event_id="same time", occurred_at=at(10), parent_event_id="parent"),
        document("policy.evaluated", event_id="orphan", occurred_at=at(1), parent_event_id="not here"),
        document("policy.evaluated", event_id="parent", occurred_at=at(30)),  # a variant: the earliest one counts
        document("policy.evaluated", event_id="between", occurred_at=at(20), parent_event_id="parent"),
    )
    page = walked(lambda after: timeline(rows, "acme", "w", after=after, limit=1))
    assert {item["event_id"] for item in page if item["marks"]["child_before_parent"]} == {"child"}


def test_decisions_come_in_pages_the_own_one_first() -> None:
    names = [None, "a", "ab", "b", "é"]
    rows = made(*[document("policy.evaluated", event_id=f"e{n}", decision_id=name) for n, name in enumerate(names)])
    paged = walked(lambda after: decisions(rows, "acme", "w", after, 2))
    assert [item["decision_id"] for item in paged] == names
    assert [decision(rows, "acme", "w", name) for name in names] == paged
    assert decisions(rows, "acme", "other").items == []


def test_what_is_not_there_is_none_or_empty() -> None:
    rows = made(document("policy.evaluated", workflow_id="workflow"))
    for name in ("work", "workflow2", "x"):
        assert workflow(rows, "acme", name) is None
        assert timeline(rows, "acme", name) == Page([], None)
        assert decision(rows, "acme", name, None) is None


def test_events_before_1970_and_at_the_calendars_ends_are_in_order() -> None:
    moments = ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
    rows = made(*[document("policy.evaluated", event_id=f"e{n}", occurred_at=m) for n, m in enumerate(moments[::-1])])
    said = [item["occurred_at"] for item in timeline(rows, "acme", "w").items]
    assert said == [rfc3339(micros(utc(datetime.fromisoformat(moment)))) for moment in moments]


@pytest.mark.parametrize("order", ["occurred", "commit"])
@pytest.mark.parametrize(
    "position",
    [(), ("x",), (1, 2, 3), (1, "e", "not bytes"), (True, "e", b"v"), (2**70, "e", b"v"), (2**70, "t", 0, 0, 0)],
)
def test_a_position_no_page_gave_is_refused(order: Any, position: Position) -> None:
    rows = made(document("policy.evaluated"))
    with pytest.raises(InvalidPosition):
        timeline(rows, "acme", "w", order, after=position)
    with pytest.raises(InvalidPosition):
        list_workflows(rows, WorkflowFilter(), position, 1)


@given(
    st.lists(documents(workflows=("w", "v", "u")), min_size=1, max_size=25),
    st.sampled_from([None, "acme", "umbrella"]),
    st.integers(1, 3),
    st.integers(1, 3),
)
@settings(max_examples=60)
def test_a_trace_finds_its_workflows(
    events: list[dict[str, Any]], tenant: str | None, limit: int, scan_budget: int
) -> None:
    """And a correlation, page by page, as a look at every head would, through rows that a rebuilt table has, too."""
    rows = made(*events)
    rebuilt = MemoryRows()
    rebuilt.write(recovered([(key, value) for key, value in rows.items() if key[:1] not in (b"t", b"c")]))
    assert rebuilt == rows
    heads = walked(lambda after: list_workflows(rows, WorkflowFilter(tenant_id=tenant), after, 100))
    for named, kept, names in (
        ("trace_id", "trace_ids", ("1" * 32, "2" * 32)),
        ("correlation_id", "correlation_ids", ("k1", "k2", "k")),
    ):
        for name in names:
            wanted = WorkflowFilter(tenant_id=tenant, **{named: name})
            found = walked(lambda after, wanted=wanted: list_workflows(rows, wanted, after, limit, scan_budget))
            assert found == [head for head in heads if name in head[kept]]


@pytest.mark.parametrize("batches", [(1000,), (7,), (1,)])
def test_a_workflow_is_found_by_each_of_its_traces_however_many_they_are(batches: tuple[int, ...]) -> None:
    """More than its head has room for, in whatever order; and in a table that is rebuilt."""
    numbers = [n * 7919 % 200 for n in range(200)]
    events = [
        document("policy.evaluated", event_id=f"e{n}", trace_id=f"{n:032x}", correlation_id=f"k{n // 2}")
        for n in (*numbers, *numbers[:50])
    ]
    events += [document("policy.evaluated", event_id="o", workflow_id="v", trace_id=f"{3:032x}", correlation_id="k9")]
    records = arrived([(TOPICS[0], json.dumps(event).encode()) for event in events])
    rows, changelog = with_changelog(records, batches)
    rebuilt = MemoryRows()
    rebuilt.write(recovered(changelog))
    for table in (rows, rebuilt):
        for n in range(200):
            for wanted in (
                WorkflowFilter(trace_id=f"{n:032x}"),
                WorkflowFilter(correlation_id=f"k{n // 2}"),
                WorkflowFilter(trace_id=f"{n:032x}", correlation_id=f"k{199 // 2 - n // 2}"),
            ):
                found = {item["workflow_id"] for item in list_workflows(table, wanted, None, 10).items}
                others = {"v"} if n == 3 and wanted.correlation_id is None else set()
                others |= {"v"} if wanted.trace_id is None and wanted.correlation_id == "k9" else set()
                assert found == {"w"} | others, wanted
        assert list_workflows(table, WorkflowFilter(trace_id=f"{201:032x}"), None, 10).items == []
        both = WorkflowFilter(trace_id=f"{3:032x}", correlation_id="k9")
        assert {item["workflow_id"] for item in list_workflows(table, both, None, 10).items} == {"v", "w"}
        both = WorkflowFilter(trace_id=f"{3:032x}", correlation_id="k8")
        assert {item["workflow_id"] for item in list_workflows(table, both, None, 10).items} == {"w"}


def test_a_trace_is_found_without_a_look_at_other_workflows() -> None:
    others = [document("policy.evaluated", event_id=f"e{n}", workflow_id=f"a{n}") for n in range(30)]
    rows = made(*others, document("policy.evaluated", workflow_id="w", trace_id="1" * 32))
    page = list_workflows(rows, WorkflowFilter(trace_id="1" * 32), None, 10, scan_budget=1)
    assert [item["workflow_id"] for item in page.items] == ["w"]
    assert page.next is None
