"""The simulated workload: the same for the same dice, lifelike enough to ask questions of, faults as declared."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from itertools import pairwise
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.core import sizes
from replayer.core.faults import NONE, POISONS, Emission, Faults, disturbed
from replayer.core.simulation import TENANTS, Scenario, cases
from replayer.core.story import Happening
from topics.codec import Event, Undecodable, decode
from topics.events import wire
from topics.registry import EVENT_TYPES, FAMILIES

START_US = 1_767_600_000_000_000


def told(workflows: int = 400, seed: int = 7, **scenario: object) -> list[Happening]:
    return list(cases(random.Random(seed), Scenario("sup", START_US, workflows, **scenario)))


def sent(faults: Faults = NONE, workflows: int = 200, seed: int = 7) -> list[Emission]:
    return list(disturbed(told(workflows, seed), random.Random(seed + 1), faults))


def test_the_same_dice_give_the_same_bytes_and_others_do_not() -> None:
    assert [wire(one.event) for one in told(50)] == [wire(one.event) for one in told(50)]
    assert [wire(one.event) for one in told(50)] != [wire(one.event) for one in told(50, seed=8)]


def test_more_workflows_change_nothing_about_the_first_ones() -> None:
    def first(happenings: list[Happening]) -> list[bytes]:
        return [wire(one.event) for one in happenings if one.event.workflow_id <= "sup-00020"]

    assert first(told(20)) == first(told(60))


def test_an_endless_scenario_is_lazy() -> None:
    endless = cases(random.Random(7), Scenario("sup", START_US, None))
    assert [next(endless).event.event_id for _ in range(500)] == [one.event.event_id for one in told(400)[:500]]


def test_events_come_in_the_order_of_their_clock_workflows_side_by_side() -> None:
    happenings = told()
    assert all(one.event.occurred_at <= two.event.occurred_at for one, two in pairwise(happenings))
    changes = sum(one.event.workflow_id != two.event.workflow_id for one, two in pairwise(happenings))
    assert changes > len(happenings) / 4


def test_every_event_is_one_the_codec_accepts_and_every_family_and_verdict_occurs() -> None:
    happenings = told()
    assert all(isinstance(decode(wire(one.event)), Event) for one in happenings)
    types = Counter(one.event.event_type for one in happenings)
    assert set(types) == set(EVENT_TYPES) - {"stage.failed"}
    assert {EVENT_TYPES[name].family for name in types} == set(FAMILIES)
    verdicts = Counter(one.event.data.outcome for one in happenings if one.event.event_type == "policy.evaluated")
    assert set(verdicts) == {"allow", "deny", "redact", "escalate"}
    assert {one.event.tenant_id for one in happenings} == set(TENANTS)


def test_event_ids_are_unique_and_causes_precede_in_the_same_workflow() -> None:
    seen: dict[str, str] = {}
    for one in told():
        event = one.event
        assert event.event_id not in seen
        if event.parent_event_id is not None:
            assert seen[event.parent_event_id] == event.workflow_id
        seen[event.event_id] = event.workflow_id


def test_a_decision_holds_one_request_and_at_most_one_answer() -> None:
    decisions: dict[str, Counter[str]] = defaultdict(Counter)
    for one in told():
        if one.event.decision_id is not None:
            decisions[one.event.decision_id][one.event.event_type] += 1
    assert len(decisions) > 400
    assert {types["workflow.request_received"] for types in decisions.values()} == {1}
    assert max(types["workflow.response_generated"] for types in decisions.values()) == 1


def test_threads_join_workflows_of_one_tenant() -> None:
    threads: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for one in told():
        threads[one.event.correlation_id].add((one.event.tenant_id, one.event.workflow_id))
    shared = [members for members in threads.values() if len(members) > 1]
    assert shared
    assert all(len({tenant for tenant, _ in members}) == 1 for members in shared)


def test_the_second_template_version_is_faster_and_overridden_less() -> None:
    happenings = told(2000)
    version = {}
    latency, overrides = defaultdict(list), Counter()
    for one in happenings:
        if one.event.event_type == "model.invocation_completed":
            version[one.event.event_id] = one.event.data.prompt_template.version
            latency[one.event.data.prompt_template.version].append(one.event.data.latency_ms)
    for one in happenings:
        if one.event.event_type == "workflow.human_override":
            overrides[version[one.event.data.overridden_event_id]] += 1
    assert set(latency) == {"1", "2"}
    assert median(latency["2"]) < 0.75 * median(latency["1"])
    assert overrides["2"] / len(latency["2"]) < 0.6 * overrides["1"] / len(latency["1"])


def test_artefacts_are_what_the_references_say() -> None:
    happenings = told(50)
    kept = {artefact.ref.uri for one in happenings for artefact in one.artefacts}

    def refs(value: object) -> list[str]:
        if isinstance(value, dict):
            own = [value["uri"]] if "uri" in value else []
            return own + [uri for inner in value.values() for uri in refs(inner)]
        return [uri for inner in value for uri in refs(inner)] if isinstance(value, list) else []

    named = {uri for one in happenings for uri in refs(json.loads(wire(one.event)))}
    assert named == kept


def test_without_faults_every_event_is_sent_once_in_order() -> None:
    happenings = told(200)
    emissions = sent()
    assert [emission.event_id for emission in emissions] == [one.event.event_id for one in happenings]
    assert {emission.kind for emission in emissions} == {"event"}
    assert [emission.value for emission in emissions] == [wire(one.event) for one in happenings]


@given(
    st.builds(
        Faults,
        **{name: st.floats(0, 1) for name in ("duplicates", "conflicts", "disorder", "skew", "poison")},
        reach=st.integers(1, 300),
    ),
    st.integers(0, 1000),
)
def test_faults_lose_nothing_and_are_what_they_are_called(faults: Faults, seed: int) -> None:
    emissions = sent(faults, workflows=3, seed=seed)
    originals: dict[str | None, Emission] = {}
    for emission in emissions:
        if emission.kind in ("event", "late", "skewed"):
            assert emission.event_id not in originals, "each event is sent exactly once as itself"
            originals[emission.event_id] = emission
    assert set(originals) == {one.event.event_id for one in told(3, seed)}
    for place, emission in enumerate(emissions):
        original = originals.get(emission.event_id)
        assert emission.key.startswith(b"sup-")
        match emission.kind:
            case "duplicate":
                assert emission.value == original.value
                assert emissions.index(original) < place
            case "conflict":
                assert emission.value != original.value
                assert isinstance(decode(emission.value), Event)
            case "poison":
                assert isinstance(decode(emission.value), Undecodable)


def test_faults_are_as_frequent_as_asked_and_change_no_other_event() -> None:
    plain = {emission.event_id: emission.value for emission in sent(workflows=400)}
    faulty = sent(Faults(duplicates=0.1, conflicts=0.05, disorder=0.2, skew=0.02, poison=0.1), workflows=400)
    share = {kind: count / len(plain) for kind, count in Counter(emission.kind for emission in faulty).items()}
    expected = {"duplicate": 0.1, "conflict": 0.05, "late": 0.2, "skewed": 0.02, "poison": 0.1}
    for kind, wanted in expected.items():
        assert 0.6 * wanted < share[kind] < 1.4 * wanted, kind
    assert all(plain[one.event_id] == one.value for one in faulty if one.kind in ("event", "late"))


@pytest.mark.parametrize("poison", POISONS)
def test_every_poison_is_no_event_whatever_it_was_made_from(poison: object) -> None:
    for one in told(30):
        assert isinstance(decode(poison(wire(one.event))), Undecodable)


@pytest.mark.parametrize("wrong", [{"poison": 1.5}, {"duplicates": -0.1}, {"skew": float("nan")}, {"reach": 0}])
def test_faults_out_of_range_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Faults(**wrong)


@pytest.mark.parametrize(("size", "least", "most"), [("200B", 190, 250), ("1KB", 900, 1024)])
def test_sized_events_are_valid_distinct_and_of_their_size(size: sizes.Size, least: int, most: int) -> None:
    made = list(sizes.events(size, 2000, workflows=70, start_us=START_US, step_us=7))
    events = [decode(value) for _, value in made]
    assert all(isinstance(event, Event) for event in events)
    assert len({event.event_id for event in events}) == 2000
    assert len({key for key, _ in made}) == 70
    assert all(event.workflow_id.encode() == key for event, (key, _) in zip(events, made, strict=True))
    assert [event.occurred_us for event in events] == [START_US + 7 * number for number in range(2000)]
    assert all(least <= len(value) <= most for _, value in made)
    if size == "1KB":
        assert all(event.decision_id == f"{event.workflow_id}-t1" for event in events)
