"""A small event spelled out, and how the codec takes bytes made from it."""

from __future__ import annotations

import json
from typing import Any

from tests.drawn import full
from topics.bounds import Limits
from topics.codec import Undecodable, decode
from topics.events import MODELS
from topics.fast import Event

EVENT = full(MODELS["feedback.received"], "x")
SMALL: dict[str, Any] = {**EVENT, "subject_id": None, "data": {"score": 0.5, "label": "good"}}


def compact(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def refused(raw: bytes | None, **limits: int) -> Undecodable:
    found = decode(raw, limits=Limits(**limits))
    assert isinstance(found, Undecodable), "accepted"
    return found


def accepted(raw: bytes) -> Event:
    found = decode(raw)
    assert isinstance(found, Event), found
    return found
