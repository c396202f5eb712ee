"""Events of older versions come back as the newest; golden bytes of every version stay what they mean."""

from __future__ import annotations

from typing import Any, Union

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics import codec, deadletter, events, fast
from topics.codec import Undecodable, decode, read
from topics.families.policy import PolicyEvaluated
from topics.registry import EVENT_TYPES, EventType
from topics.upcast import upcast

NAME = "policy.evaluated"
ENVELOPE = (
    b'{"event_id":"e-1","event_type":"policy.evaluated","schema_version":%d,"workflow_id":"w-1",'
    b'"occurred_at":"2025-01-31T12:00:00.123456Z","tenant_id":"acme","source":"svc","agent_id":"a","data":%b}'
)
RAW = ENVELOPE % (1, b'{"policy_id":"p","outcome":"deny","rule_id":"r"}')


def renamed(data: dict[str, Any]) -> dict[str, Any]:
    """1 to 2: `verdict` became `outcome`."""
    return {**{key: value for key, value in data.items() if key != "verdict"}, "outcome": data["verdict"]}


def lowered(data: dict[str, Any]) -> dict[str, Any]:
    """2 to 3: outcomes are written small."""
    return {**data, "outcome": data["outcome"].lower()}


def at_version(number: int, *upcasters: Any) -> EventType:
    return EventType(NAME, "policy-events", number, PolicyEvaluated, upcasters)


@pytest.fixture
def third(monkeypatch: pytest.MonkeyPatch) -> EventType:
    """A release in which policy.evaluated is in version 3."""
    known = at_version(3, renamed, lowered)
    model = events._model(known)
    structs = {**fast.EVENTS, NAME: fast._event(NAME, model)}
    monkeypatch.setattr(codec, "EVENT_TYPES", {**EVENT_TYPES, NAME: known})
    monkeypatch.setattr(codec, "MODELS", {**events.MODELS, NAME: model})
    any_event = Union[tuple(structs.values())]  # noqa: UP007 - computed
    monkeypatch.setattr(codec, "_decode_any", codec.msgspec.json.Decoder(any_event).decode)
    return known


def said(version: int, data: object) -> bytes:
    return ENVELOPE % (version, orjson.dumps(data))


#: What that release must go on reading. (Of the types there are: tests/topics/golden.)
GOLDEN = {
    1: said(1, {"policy_id": "p", "verdict": "DENY", "rule_id": "r"}),
    2: said(2, {"policy_id": "p", "outcome": "DENY", "rule_id": "r"}),
    3: said(3, {"policy_id": "p", "outcome": "deny", "rule_id": "r"}),
}


@pytest.mark.usefixtures("third")
def test_every_version_means_the_same() -> None:
    found = {version: read(raw) for version, raw in GOLDEN.items()}
    assert not any(isinstance(one, Undecodable) for one in found.values()), found
    assert len({one for one in found.values()}) == 1
    event, content = found[1]
    assert (event.schema_version, event.data.outcome, event.data.rule_id) == (3, "deny", "r")
    assert orjson.loads(content)["schema_version"] == 3


@pytest.mark.usefixtures("third")
def test_a_later_version_is_kept_and_marked() -> None:
    found = decode(said(4, {"what": "ever"}))
    assert (found.future, found.data, found.schema_version) == (True, None, 4)


@pytest.mark.usefixtures("third")
@pytest.mark.parametrize(
    ("raw", "error", "detail"),
    [
        (said(1, {"policy_id": "p"}), "KeyError", "policy.evaluated from version 1 to 2: the upcaster raised"),
        (said(2, {"policy_id": "p", "outcome": 5}), "AttributeError", "from version 2 to 3"),
        (said(1, None), "NotAnObject", "data is no object"),
        (said(1, []), "NotAnObject", "data is no object"),
        (said(2, {"policy_id": "p", "outcome": "MAYBE"}), "ValidationError", "data.outcome"),
        (said(0, {"policy_id": "p", "verdict": "DENY"}), "ValidationError", "schema_version"),
    ],
)
def test_what_cannot_be_made_new_is_a_dead_letter_that_says_where(raw: bytes, error: str, detail: str) -> None:
    found = decode(raw)
    assert isinstance(found, Undecodable)
    assert (found.reason, found.error_class) == (deadletter.INVALID, error)
    assert detail in found.detail
    assert "MAYBE" not in found.detail


def test_an_upcaster_that_makes_what_is_not_json_is_refused() -> None:
    found = upcast(RAW, at_version(2, lambda data: {**data, "set": {1}}), 1)
    assert isinstance(found, Undecodable)
    assert found.error_class in ("TypeError", "JSONEncodeError")


def test_a_version_without_its_upcasters_cannot_be_registered() -> None:
    with pytest.raises(TypeError, match="needs an upcaster"):
        at_version(2)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


#: Those of this release that have upcasters, and one that has two whatever this release is.
UPCAST = [*(known for known in EVENT_TYPES.values() if known.upcasters), at_version(3, renamed, lowered)]


@given(st.sampled_from(UPCAST), st.data(), st.dictionaries(st.text(), values, max_size=4), values)
def test_upcasters_are_total_and_leave_what_they_are_given(
    known: EventType, draw: st.DataObject, data: dict[str, Any], verdict: object
) -> None:
    """Whatever lies in `data`: an event, or a reason. Nothing is raised, and nothing is changed in place."""
    name, version = known.name, draw.draw(st.integers(1, known.schema_version - 1))
    data |= draw.draw(st.sampled_from([{}, {"verdict": verdict}, {"outcome": verdict}]))
    before = orjson.dumps(data)
    made = upcast(orjson.dumps({"event_type": name, "schema_version": version, "data": data}), known, version)
    assert isinstance(made, bytes | Undecodable)
    for upcaster in known.upcasters:
        try:
            upcaster(data)
        except Exception:  # noqa: BLE001 - what it raises is the refusal's
            continue
        assert orjson.dumps(data) == before


@given(values)
def test_whatever_an_upcaster_does_is_an_event_or_a_reason(made: object) -> None:
    def anything(_: dict[str, Any]) -> Any:
        return made

    found = upcast(RAW, at_version(3, anything, lowered), 1)
    assert isinstance(found, bytes | Undecodable)
