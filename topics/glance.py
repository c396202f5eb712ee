"""What is asked of every decoded event, as functions written out from the models once, at import.

Two questions, each a walk over the fields concerned and nothing else: are the hexadecimal fields hexadecimal, and is
there nothing to hide? A regex for each field, or a loop over field names, took as long as decoding the event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from topics.classification import classification_of
from topics.fields import HEX_PATTERNS

Glance = Callable[[Any], bool]


def hexadecimal(model: type[BaseModel]) -> Glance:
    """Whether all that must be lower-case hexadecimal digits is: of a struct whose lengths are right.

    The function may raise ValueError instead of answering False.
    """
    lines = list(_walk(model, "event", 1, is_hexadecimal, "found += {}"))
    if not lines:
        return lambda event: True
    # Only digits survive the way there and back, and only lower-case ones.
    return _written(["found = ''", *lines, "return bytes.fromhex(found).hex() == found"])


def bare(model: type[BaseModel]) -> Glance:
    """Whether the struct holds no value that must not be projected."""
    lines = list(_walk(model, "event", 1, _is_hidden, "return False"))
    return _written([*lines, "return True"])


def inner_model(annotation: Any) -> type[BaseModel] | None:
    """The model inside `M`, `M | None`, `Annotated[M, ...]` or `tuple[M, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := inner_model(arg)) is not None), None)


def is_hexadecimal(info: FieldInfo) -> bool:
    """Whether the field must hold lower-case hexadecimal digits."""
    return bool(HEX_PATTERNS & set(_patterns([info, *_arms(info.annotation)])))


def _is_hidden(info: FieldInfo) -> bool:
    level = classification_of(info)
    return level is None or not level.projected


def _arms(annotation: Any) -> Iterator[Any]:
    """What an annotation is made of, at any depth: the rules of `X` in `Annotated[X, rule] | None`."""
    for arg in get_args(annotation):
        yield arg
        yield from _arms(arg)


def _patterns(rules: list[Any]) -> Iterator[str]:
    for rule in rules:
        if isinstance(rule, FieldInfo):
            yield from _patterns(list(rule.metadata))
        elif isinstance(pattern := getattr(rule, "pattern", None), str):
            yield pattern


def _walk(model: type[BaseModel], at: str, depth: int, wanted: Callable[[FieldInfo], bool], line: str) -> Iterator[str]:
    """`line`, about each wanted field of the model and of the models in it, None and empty ones passed over."""
    for name, info in model.model_fields.items():
        value = f"{at}.{name}"
        if wanted(info):
            yield _guard(info, value, line.format(value))
            continue
        inner = inner_model(info.annotation)
        if inner is None:
            continue
        below = f"inner{depth}"
        lines = [f"  {found}" for found in _walk(inner, below, depth + 1, wanted, line)]
        if not lines:
            continue
        if any(get_origin(arm) is tuple for arm in (info.annotation, *_arms(info.annotation))):
            yield f"for {below} in {value}:"
        else:
            yield f"if ({below} := {value}) is not None:"
        yield from lines


def _guard(info: FieldInfo, value: str, line: str) -> str:
    return line if info.is_required() else f"if {value} is not None: {line}"


def _written(body: list[str]) -> Glance:
    source = "\n  ".join(["def glance(event):", *body])
    made: dict[str, Any] = {}
    exec(source, {}, made)  # noqa: S102 - of our own models' field names, at import
    glance: Glance = made["glance"]
    return glance
