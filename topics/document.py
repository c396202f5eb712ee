"""JSON documents of the replay topics: bytes to a model and back. Decoding never raises and never quotes the bytes."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from topics import deadletter
from topics.bounds import Limits, long_number, skeleton, too_deep
from topics.codec import Undecodable

Document = TypeVar("Document", bound=BaseModel)
_MAX_NAMED = 8  # fields a refusal names


def decode_document(model: type[Document], raw: bytes | None, limits: Limits) -> Document | Undecodable:
    """The document in a record's value, or why there is none: fields and rules by name, never a value. Never raises."""
    if raw is None:
        return Undecodable(deadletter.UNDECODABLE, "NullValue", "the record has no value")
    if len(raw) > limits.max_record_bytes:
        return Undecodable(deadletter.OVERSIZED, "RecordTooLarge", f"more than {limits.max_record_bytes} bytes")
    bones = skeleton(raw)
    if too_deep(bones, limits.max_depth):
        return Undecodable(deadletter.UNDECODABLE, "TooDeep", f"nested deeper than {limits.max_depth}, or unbalanced")
    if long_number(bones, limits.max_integer_digits):
        return Undecodable(
            deadletter.UNDECODABLE, "NumberTooLong", f"a number of more than {limits.max_integer_digits} digits"
        )
    try:
        return model.model_validate_json(raw)
    except ValidationError as refused:
        errors = refused.errors(include_url=False, include_context=False, include_input=False)
        if errors[0]["type"] == "json_invalid":
            return Undecodable(deadletter.UNDECODABLE, "MalformedJson", "not JSON (RFC 8259)")
        named = [f"{'.'.join(map(str, error['loc'])) or model.__name__}: {error['type']}" for error in errors]
        more = f"; and {len(named) - _MAX_NAMED} more" if len(named) > _MAX_NAMED else ""
        return Undecodable(deadletter.INVALID, "ValidationError", "; ".join(named[:_MAX_NAMED]) + more)


def encode_document(document: BaseModel) -> bytes:
    """Compact JSON, UTF-8, nothing that is null; the same document gives the same bytes."""
    return document.model_dump_json(exclude_none=True).encode()
