"""One event in many spellings: whatever order, space, nulls and escapes its JSON has, it means the same."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from hypothesis import strategies as st
from pydantic import BaseModel

from tests.drawn import full
from topics.events import MODELS
from topics.glance import inner_model

_SPACES = ["", "", " ", "\n  ", "\t", "\r\n"]


def respelled(document: dict[str, Any], model: type[BaseModel], rng: Random, *, ascii_only: bool = False) -> bytes:
    """The document with keys in any order, space anywhere, and nulls where a field may be null."""
    return (rng.choice(_SPACES) + _spelled(document, model, rng, ascii_only) + rng.choice(_SPACES)).encode()


def _spelled(value: Any, model: type[BaseModel] | None, rng: Random, ascii_only: bool) -> str:
    def space() -> str:
        return rng.choice(_SPACES)

    if isinstance(value, dict):
        fields = model.model_fields if model is not None else {}
        items = list(value.items())
        nullable = [name for name, info in fields.items() if not info.is_required() and info.default is None]
        items += [(name, None) for name in nullable if name not in value and rng.random() < 0.3]
        rng.shuffle(items)
        inside = [
            f"{space()}{json.dumps(name)}{space()}:{space()}"
            f"{_spelled(item, inner_model(fields[name].annotation) if name in fields else None, rng, ascii_only)}"
            for name, item in items
        ]
        return "{" + f"{space()},".join(inside) + space() + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(f"{space()}{_spelled(item, model, rng, ascii_only)}{space()}" for item in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)


def model_of(document: dict[str, Any]) -> type[BaseModel]:
    return MODELS[document["event_type"]]


def whole_events() -> st.SearchStrategy[dict[str, Any]]:
    """An event of each type with every field filled, most of which an ordinary producer would write so."""
    return st.sampled_from(sorted(MODELS)).map(
        lambda name: full(MODELS[name], "hidden words") | {"event_type": name, "event_id": f"e-{name}"}
    )


@st.composite
def mutated(draw: st.DrawFn, raw: bytes) -> bytes:
    """The bytes with one to three of them changed, put in or taken out, or a stretch of them doubled."""
    changed = bytearray(raw)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(changed) - 1, 0)))
        match draw(st.sampled_from(["flip", "insert", "delete", "double", "swap"])):
            case "flip" if changed:
                changed[at] ^= 1 << draw(st.integers(0, 7))
            case "insert":
                changed[at:at] = draw(
                    st.sampled_from([b'"', b"\\", b"{", b"}", b",", b"0", b"e", b" ", b"\xff", b"-", b"."])
                )
            case "delete":
                del changed[at : at + draw(st.integers(1, 8))]
            case "double":
                changed[at:at] = changed[at : at + draw(st.integers(1, 60))]
            case "swap" if changed:
                changed[at] = draw(st.sampled_from(b'09"aZ-+.,:{}[]ntf'))
    return bytes(changed)
