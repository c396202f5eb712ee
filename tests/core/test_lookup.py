"""Pages and lists of the index: all of it, once, in steps and pages of any size; what would be too much is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replayer.core import lookup
from replayer.core.errors import TooBroad
from replayer.core.lookup import Stretch
from replayer.core.shelf import MODEL, TEMPLATE, TOOL, opened
from tests.core.shelves import (
    WORKFLOWS,
    built,
    invoked,
    listed,
    pages,
    told,
    walked,
)
from tests.core.timelines import deliveries, encoded
from topics.codec import decode
from topics.fields import micros


@given(deliveries(WORKFLOWS), st.integers(1, 3))
@settings(max_examples=60)
def test_pages_neither_lose_nor_repeat(sequence: list[tuple[str, bytes]], limit: int) -> None:
    _, usage = told(sequence)
    rows = built(usage)
    for kind, name in ((TEMPLATE, "t"), (MODEL, "p/m1"), (TOOL, "t1")):
        assert pages(rows, kind, name, None, limit=limit) == pages(rows, kind, name, None)
    everything = walked(lambda after: lookup.list_evaluations(rows, "pii", None, None, None, Stretch(), after, 1000))
    assert everything == walked(
        lambda after: lookup.list_evaluations(rows, "pii", None, None, None, Stretch(), after, limit)
    )
    for outcome in ("allow", "deny"):
        assert [item for item in everything if item["outcome"] == outcome] == walked(
            lambda after, outcome=outcome: lookup.list_evaluations(
                rows, "pii", None, outcome, None, Stretch(), after, limit
            )
        )


def test_what_is_asked_for_by_time_and_tenant_is_what_is_given() -> None:
    events = [{**invoked(second), "decision_id": f"d{second}", "tenant_id": f"t{second % 2}"} for second in range(6)]
    _, usage = told([("model-invocations", encoded(event)) for event in events])
    rows = built(usage)
    start = micros(decode(encoded(events[0])).occurred_at)
    stretch = Stretch(start + 1_000_000, start + 5_000_000, "t1")
    found = lookup.list_decisions(rows, TEMPLATE, "t", "1", None, stretch, None, 10)
    assert [item["decision_id"] for item in found.items] == ["d1", "d3"]
    short = lookup.list_decisions(rows, TEMPLATE, "t", "1", None, stretch, None, 10, scan_budget=1)
    assert (short.items, short.next) != ([], None)


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "a@b", "b"]), st.sampled_from(["1", "b@1", "2"]), st.sampled_from("wvu")),
        min_size=1, max_size=12,
    ),
    st.integers(1, 3), st.integers(1, 4),
)  # fmt: skip
def test_lists_are_the_same_in_pages_and_steps_of_any_size(
    uses: list[tuple[str, str, str]], limit: int, most: int
) -> None:
    events = [
        ({**invoked(second, prompt_template={"template_id": name, "version": version}), "workflow_id": workflow})
        for second, (name, version, workflow) in enumerate(uses)
    ]
    rows = built(told([("model-invocations", encoded(event)) for event in events])[1])
    whole = listed(rows, None, 1000, 10**6)
    assert {(one.name, one.version) for one in (opened(key) for key, _ in whole)} == {use[:2] for use in uses}, (
        "and nothing that nobody used"
    )
    assert listed(rows, None, limit, most) == whole
    for name in {use[0] for use in uses}:
        assert listed(rows, name, limit, most) == [one for one in whole if opened(one[0]).name == name]


def test_what_would_have_to_look_at_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [invoked(second, model=f"m{second}", model_version="v") for second in range(5)]
    rows = built(told([("model-invocations", encoded(event)) for event in events])[1])
    assert len(pages(rows, MODEL, None, "v")) == 5
    for name, most in (("MAX_LOOKED", 4), ("MAX_SHELVES", 4)):
        with monkeypatch.context() as few:
            few.setattr(lookup, name, most)
            with pytest.raises(TooBroad, match="name one"):
                pages(rows, MODEL, None, "v")


def test_a_model_is_found_with_its_provider_and_without() -> None:
    events = [
        {**invoked(second, provider=provider, model=model), "decision_id": f"d{second}"}
        for second, (provider, model) in enumerate([("a", "m"), ("b", "m"), ("b", "a/m"), ("c", "mm")])
    ]
    rows = built(told([("model-invocations", encoded(event)) for event in events])[1])
    for asked, found in (("m", ["d0", "d1"]), ("a/m", ["d0", "d2"]), ("b/m", ["d1"]), ("b/a/m", ["d2"]), ("c", [])):
        assert [item["decision_id"] for item in pages(rows, MODEL, asked, None)] == found, asked
