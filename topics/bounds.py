"""What a record's bytes must keep to before anything may build objects from them. Linear in the bytes, no recursion."""

from __future__ import annotations

import re
from dataclasses import dataclass

from topics.catalogue import DEFAULT_MAX_RECORD_BYTES


@dataclass(frozen=True, slots=True)
class Limits:
    """The record's size in bytes, how deep its JSON may nest, how many digits a number may have before its point."""

    max_record_bytes: int = DEFAULT_MAX_RECORD_BYTES
    max_depth: int = 64
    max_integer_digits: int = 20

    def __post_init__(self) -> None:
        # The parsers' own limits lie above these; beyond them a bound would be one we cannot keep.
        if not (1 <= self.max_depth <= 128 and 1 <= self.max_integer_digits <= 1000 and self.max_record_bytes >= 1):
            raise ValueError("limits: max_depth 1..128, max_integer_digits 1..1000, max_record_bytes at least 1")


DEFAULT = Limits()

_DIGITS_AS_ZERO = bytes(ord("0") if byte in b"0123456789" else 0 for byte in range(256))


def may_break_bounds(raw: bytes, limits: Limits) -> bool:
    """False means: neither too deep nor a long number, by counts that any bytes can be held to cheaply."""
    if raw.count(b"{") + raw.count(b"[") > limits.max_depth:
        return True
    return b"0" * (limits.max_integer_digits + 1) in raw.translate(_DIGITS_AS_ZERO)


_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")  # whether they match in kind is the parser's business


def skeleton(raw: bytes) -> bytes:
    """The JSON without its strings. Bytes that are no JSON come out as something, in the same linear time."""
    # Escaped backslashes go first, so that what is left before a quote is that quote's own escape.
    outside = raw.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]
    return b" ".join(outside)


def too_deep(bones: bytes, max_depth: int) -> bool:
    """Whether a skeleton nests deeper than `max_depth` (or its brackets do not match)."""
    brackets = bones.translate(_ONE_KIND, _NO_BRACKETS)
    for _ in range(max_depth):  # each turn takes the innermost level away
        shorter = brackets.replace(b"[]", b"")
        if len(shorter) == len(brackets):
            break
        brackets = shorter
    return bool(brackets)


def long_number(bones: bytes, max_digits: int) -> bool:
    """Whether a number in a skeleton has more digits than `max_digits` before its point (or in its exponent)."""
    return re.search(rb"(?<![\d.])\d{%d}" % (max_digits + 1), bones) is not None
