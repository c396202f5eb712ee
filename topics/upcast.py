"""Events of older versions, made new when they are read. The log keeps them as they were written."""

from __future__ import annotations

from typing import Any

import orjson

from topics import deadletter
from topics.registry import EventType
from topics.undecodable import Undecodable


def upcast(raw: bytes, known: EventType, version: int) -> bytes | Undecodable:
    """The event in the version this release writes; `raw` is JSON, of the type and in `version`, which is older.

    Never raises: an upcaster that does is no reason to stand still. It is asked for what it promises only: `data` an
    object, which is what it gives back.
    """
    document: dict[str, Any] = orjson.loads(raw)
    data = document.get("data")
    for step in range(version, known.schema_version):
        if not isinstance(data, dict):
            return _refused(known, step, "NotAnObject", "data is no object")
        try:
            data = known.upcasters[step - 1](data)
            made = orjson.dumps({**document, "schema_version": step + 1, "data": data})
        except Exception as exc:  # noqa: BLE001 - whatever it is: the record and its reason are kept
            return _refused(known, step, type(exc).__name__, "the upcaster raised, or what it made is not JSON")
    return made


def _refused(known: EventType, version: int, error_class: str, why: str) -> Undecodable:
    detail = f"{known.name} from version {version} to {version + 1}: {why}"
    return Undecodable(deadletter.INVALID, error_class, detail)
