"""A change of a schema is told, and whom it breaks: the tables here are what the words mean."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, create_model

from topics.classification import CONFIDENTIAL, INTERNAL
from topics.compat import Change, changes
from topics.schemas import schemas


class Inner(BaseModel):
    name: str


class Wider(BaseModel):
    name: str
    more: int


class Colour(StrEnum):
    RED = "red"


def model(**fields: Any) -> dict[str, Any]:
    return create_model("M", **fields).model_json_schema()


Optional = (Annotated[str | None, INTERNAL], None)

#: Before, after, what is said, breaks new readers, breaks old readers.
CASES: list[tuple[dict[str, Any], dict[str, Any], str, bool, bool]] = [
    ({}, {"x": Optional}, "a new field", False, False),
    ({}, {"x": (Annotated[str, INTERNAL], ...)}, "a new field, required", True, False),
    ({"x": Optional}, {}, "the field is gone", False, False),
    ({"x": (str, ...)}, {}, "the field is gone", False, True),
    ({"x": (str, "")}, {"x": (str, ...)}, "became required", True, False),
    ({"x": (str, ...)}, {"x": (str, "")}, "became optional", False, True),
    ({"x": (str, "")}, {"x": (str | None, "")}, "may be null now", False, True),
    ({"x": (str | None, "")}, {"x": (str, "")}, "may not be null any more", True, False),
    ({"x": (int, 0)}, {"x": (str, 0)}, "may not be integer any more", True, False),
    ({"x": (Literal["a", "b"], "a")}, {"x": (Literal["a", "b", "c"], "a")}, "may be 'c' now", False, True),
    ({"x": (Literal["a", "b"], "a")}, {"x": (Literal["a"], "a")}, "may not be 'b' any more", True, False),
    ({"x": (int, Field(0, le=5))}, {"x": (int, Field(0, le=9))}, "maximum 5 became 9", False, True),
    ({"x": (int, Field(0, le=5))}, {"x": (int, Field(0, le=3))}, "maximum 5 became 3", True, False),
    ({"x": (int, Field(0, ge=5))}, {"x": (int, Field(0, ge=3))}, "minimum 5 became 3", False, True),
    ({"x": (int, 0)}, {"x": (int, Field(0, ge=3))}, "minimum None became 3", True, False),
    ({"x": (str, Field("", max_length=5))}, {"x": (str, "")}, "maxLength 5 became None", False, True),
    ({"x": (str, Field("", pattern="a"))}, {"x": (str, Field("", pattern="b"))}, "pattern a became b", True, True),
    (
        {"x": (Annotated[str, INTERNAL], "")}, {"x": (Annotated[str, CONFIDENTIAL], "")},
        "classification internal became confidential", True, True,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "what", "new", "old"), CASES)
def test_a_change_is_told_and_whom_it_breaks(
    before: dict[str, Any], after: dict[str, Any], what: str, new: bool, old: bool
) -> None:
    found = changes({"m": model(**before)}, {"m": model(**after)})
    assert Change("m.x", what, new, old) in found
    assert all(change.path == "m.x" for change in found)
    assert changes({"m": model(**before)}, {"m": model(**before)}) == []


def test_what_lies_deeper_is_found_by_its_path() -> None:
    for shape, path in ((Inner, "m.x.more"), (Inner | None, "m.x.more"), (tuple[Inner, ...], "m.x[].more")):
        wide: Any = {Inner: Wider, Inner | None: Wider | None, tuple[Inner, ...]: tuple[Wider, ...]}[shape]
        found = changes({"m": model(x=(shape, ...))}, {"m": model(x=(wide, ...))})
        assert found == [Change(path, "a new field, required", breaks_new=True)]


def test_kinds_come_and_go() -> None:
    assert changes({"a": model()}, {"b": model()}) == [
        Change("a", "a kind of record is gone", breaks_new=True),
        Change("b", "a new kind of record"),
    ]


def test_this_release_agrees_with_itself() -> None:
    assert changes(schemas(), schemas()) == []
    assert len(schemas()) > 15


def test_a_schema_that_refers_to_itself_ends() -> None:
    class Node(BaseModel):
        children: list[Node] = []

    class Other(BaseModel):
        children: list[Other] = []
        colour: Colour = Colour.RED

    found = changes({"m": Node.model_json_schema()}, {"m": Other.model_json_schema()})
    assert Change("m.colour", "a new field") in found
