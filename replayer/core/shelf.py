"""Shelves: where the index keeps who used what. One for each thing in one version, sixteen times.

A shelf is the key of a record of `template-usage` and the middle of every key of the `templates` table. Its bucket is a
hash of the workflow id, so that what everybody uses does not land in one partition, and all uses by a workflow are on
one shelf.
"""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

from replayer.core.errors import DamagedRow
from replayer.core.rows import NUL

BUCKETS: Final = 16

TEMPLATE, MODEL, TOOL, DOCUMENT, INDEX, POLICY = b"t", b"m", b"f", b"d", b"x", b"p"
KINDS: Final = (TEMPLATE, MODEL, TOOL, DOCUMENT, INDEX, POLICY)


class Shelf(NamedTuple):
    """`name`: a template's id, provider/model, a tool's name, a document's id, an index's name, a policy's id.

    `version`: empty where it says none.
    """

    kind: bytes
    name: str
    version: str
    bucket: int


def bucket_of(workflow_id: bytes) -> int:
    """The bucket of all uses by a workflow."""
    return zlib.crc32(workflow_id) % BUCKETS


def things(kind: bytes, name: str) -> bytes:
    """What all shelves of a thing begin with, whatever its version."""
    return kind + name.encode() + NUL


def thing(kind: bytes, name: str, version: str | None) -> bytes:
    """What the shelves of a thing in one version begin with; `shelf` makes one of it."""
    return b"%b%b\x00%b\x00" % (kind, name.encode(), (version or "").encode())


def shelf(thing: bytes, bucket: int) -> bytes:
    return thing + b"0123456789abcdef"[bucket : bucket + 1]


def opened(key: bytes) -> Shelf:
    """The shelf of its key. Raises DamagedRow."""
    try:
        name, version, bucket = key[1:].split(NUL)
        found = Shelf(key[:1], name.decode(), version.decode(), int(bucket, BUCKETS))
    except ValueError as damaged:  # UnicodeDecodeError is one
        raise DamagedRow("shelf") from damaged
    if found.kind not in KINDS or not found.name or len(bucket) != 1:
        raise DamagedRow("shelf")
    return found
