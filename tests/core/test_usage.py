"""What steps tell the index: uses, nothing confidential; and what is no usage is buried, or stops the worker."""

from __future__ import annotations

import pytest

from replayer.core.errors import UnknownRowFormat
from replayer.core.glimpse import glimpse
from replayer.core.index import IndexFold
from replayer.core.shelf import TEMPLATE, opened, things
from tests.core import shelves
from tests.core.shelves import (
    arriving,
    built,
    invoked,
    thing,
    timelines_of,
    told,
)
from tests.core.timelines import encoded
from tests.drawn import Log, MemoryRows, full
from topics import deadletter
from topics.codec import decode
from topics.events import MODELS
from topics.projection import project


def test_a_template_without_a_version_is_a_dead_letter_that_says_so_and_stops_nothing() -> None:
    """Two versions under no name could not be told apart: the producer has to say which."""
    bad = invoked(0, prompt_template={"template_id": "t"})
    folded = timelines_of.fold(
        MemoryRows(),
        arriving([("model-invocations", encoded(event)) for event in (bad, invoked(1))]),
        0,
        0,
    )
    (letter,) = folded.sends
    headers = dict(letter.headers)
    assert letter.value == encoded(bad)
    assert headers[deadletter.REASON] == deadletter.INVALID.encode()
    assert b"data.prompt_template.version" in headers[deadletter.DETAIL]
    assert folded.counts == {"dead_letter": 1, "folded": 1}


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (None, b"\x01\x93\x90\x90\x90", deadletter.UNDECODABLE),
        (b"tt\x001\x000", None, deadletter.UNDECODABLE),
        (b"tt\x001\x000", b"\x01\x93", deadletter.UNDECODABLE),
        (b"tt\x001\x000", b"\x01\xc0", deadletter.UNDECODABLE),
        (b"zt\x001\x000", b"\x01\x93\x90\x90\x90", deadletter.INVALID),
        (b"no shelf", b"\x01\x93\x90\x90\x90", deadletter.INVALID),
        (b"t\xff\x001\x000", b"\x01\x93\x90\x90\x90", deadletter.INVALID),
    ],
)
def test_what_is_no_usage_is_a_dead_letter(key: bytes | None, value: bytes | None, reason: str) -> None:
    folded = shelves.index.fold(MemoryRows(), [Log("template-usage", 0, value, key=key)], 0, 0)
    (send,) = folded.sends
    assert dict(send.headers)[deadletter.REASON] == reason.encode()
    assert folded.rows == []


def test_a_shelf_of_another_partition_is_misrouted() -> None:
    _, usage = told([("model-invocations", encoded(invoked(0)))])
    elsewhere = IndexFold(partition_of=lambda _: 1, max_record_bytes=1 << 20)
    folded = elsewhere.fold(MemoryRows(), usage, 0, 0)
    assert {dict(send.headers)[deadletter.REASON] for send in folded.sends} == {deadletter.MISROUTED.encode()}


def test_usage_of_a_newer_release_stops_the_worker_and_is_not_buried() -> None:
    _, usage = told([("model-invocations", encoded(invoked(0)))])
    newer = Log("template-usage", 0, b"\x02" + (usage[0].value or b"")[1:], key=usage[0].key)
    with pytest.raises(UnknownRowFormat, match="usage row has format 2"):
        shelves.index.fold(MemoryRows(), [newer], 0, 0)


@pytest.mark.parametrize("event_type", sorted(MODELS))
def test_nothing_confidential_reaches_the_usage(event_type: str) -> None:
    event = {**full(MODELS[event_type], "canary"), "event_type": event_type, "schema_version": 1}
    timelines, usage = told([("model-invocations", encoded(event))])
    assert len(timelines) > 0
    assert not any(b"canary" in (one.key or b"") + (one.value or b"") for one in usage)
    assert not any(b"canary" in key + value for key, value in built(usage).items())


@pytest.mark.parametrize("event_type", sorted(MODELS))
def test_a_glimpse_sees_what_the_event_says(event_type: str) -> None:
    event = decode(encoded({**full(MODELS[event_type], "canary"), "event_type": event_type, "schema_version": 1}))
    seen = glimpse(project(event))
    uses = event_type.startswith("model.") or event_type in (
        "tool.call_started", "tool.call_completed", "tool.call_failed", "retrieval.performed", "policy.evaluated",
    )  # fmt: skip
    assert (seen is not None) == uses
    if seen is not None:
        assert seen.decision_id == event.decision_id
        assert all(opened(named + b"0").name for named in seen.touched)


def test_a_step_of_many_uses_is_several_records() -> None:
    events = [encoded({**invoked(0), "event_id": f"e{number}", "workflow_id": "w"}) for number in range(2500)]
    _, usage = told([("model-invocations", event) for event in events])
    of_template = [one for one in usage if (one.key or b"").startswith(things(TEMPLATE, "t"))]
    assert len(of_template) == 3
    assert thing(built(usage), TEMPLATE, "t").uses == 2500
