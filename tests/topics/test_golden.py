"""Bytes of every version of every type that was ever written: what they meant, they mean."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from topics.codec import Undecodable, read
from topics.registry import EVENT_TYPES

GOLDEN = Path(__file__).parent / "golden"
"""`TYPE.vN.json`: an event as somebody wrote it when N was the version; `TYPE.json`: what all of these mean today, in
the newest version and canonical. A release that brings a version adds a file and changes the latter; none goes.
"""


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_every_version_there_was_means_what_it_meant(name: str) -> None:
    known = EVENT_TYPES[name]
    means = (GOLDEN / f"{name}.json").read_bytes()
    for version in range(1, known.schema_version + 1):
        raw = (GOLDEN / f"{name}.v{version}.json").read_bytes()
        assert orjson.loads(raw)["schema_version"] == version
        found = read(raw)
        assert not isinstance(found, Undecodable), found
        event, content = found
        assert (event.event_type, event.schema_version, event.future) == (name, known.schema_version, False)
        assert content == means


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_no_field_is_left_out(name: str) -> None:
    said = orjson.loads((GOLDEN / f"{name}.json").read_bytes())
    assert set(said["data"]) == set(EVENT_TYPES[name].data.model_fields)


def test_no_type_that_was_written_is_gone() -> None:
    assert {path.name.split(".v")[0].removesuffix(".json") for path in GOLDEN.iterdir()} == set(EVENT_TYPES)
