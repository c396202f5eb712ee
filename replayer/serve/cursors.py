"""Cursors: where the next page starts, as opaque text that only fits the question it was given for.

base64url (unpadded) of: version (1 byte), check (8 bytes), position (msgpack). The check is a hash over question and
position: it makes a garbled cursor, and one that belongs to other parameters, a 400 and not a silently wrong page.
It is no signature: a position gives nothing away that the question would not, so there is nothing to forge.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from replayer.serve.problems import Problem, bad_query

VERSION = 1
MAX_CHARS = 4096
_CHECK_BYTES = 8

Position = tuple[Any, ...]
"""What a read of the core resumes after: strings, integers and bytes."""


def question(operation: str, parameters: Mapping[str, object]) -> bytes:
    """What a cursor fits: the operation and its parameters, but `cursor` and `limit` (pages may differ in size)."""
    asked = {name: value for name, value in parameters.items() if name not in ("limit", "cursor") and value is not None}
    return orjson.dumps([operation, asked], option=orjson.OPT_SORT_KEYS)


def encode(position: Position, asked: bytes) -> str:
    """The cursor of `position` for the question `asked`."""
    body = msgspec.msgpack.encode(position)
    return base64.urlsafe_b64encode(bytes([VERSION]) + _check(asked, body) + body).rstrip(b"=").decode()


def decode(cursor: str, asked: bytes) -> Position:
    """The position `encode` was given; raises a 400 naming `cursor` for anything else it is shown."""
    if len(cursor) > MAX_CHARS:
        raise _refusal()
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise _refusal() from None
    # base64 has several spellings of the same bytes; only ours is a cursor we gave.
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != cursor:
        raise _refusal()
    check, body = raw[1 : 1 + _CHECK_BYTES], raw[1 + _CHECK_BYTES :]
    if raw[:1] != bytes([VERSION]) or check != _check(asked, body):
        raise _refusal()
    try:
        position = msgspec.msgpack.decode(body)
    except msgspec.DecodeError:
        raise _refusal() from None
    if not isinstance(position, list):
        raise _refusal()
    return tuple(position)


def _check(asked: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(len(asked).to_bytes(4, "big") + asked + body, digest_size=_CHECK_BYTES).digest()


def _refusal() -> Problem:
    return bad_query("cursor", "Not a cursor that was given for these parameters: start again without it.")
