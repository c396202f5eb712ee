"""How an artefact is named: by the SHA-256 of its bytes, wherever they are stored.

The URI is `artefact:sha256/<64 lower-case hex digits>`. It says what the bytes are and never where they lie, because
the log that carries it outlives every directory and bucket: a store may be moved, copied or mirrored and no event
changes.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from topics.classification import Classification
from topics.fields import ArtifactRef

PREFIX = "artefact:sha256/"
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
_URI = re.compile(r"artefact:sha256/([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Artefact:
    """Bytes and the reference that an event carries in their place."""

    ref: ArtifactRef
    content: bytes


def artefact(content: bytes, media_type: str, classification: Classification) -> Artefact:
    """The bytes with their reference. Raises pydantic.ValidationError for a media type that is empty or too long."""
    digest = hashlib.sha256(content).hexdigest()
    ref = ArtifactRef(
        uri=PREFIX + digest,
        sha256=digest,
        media_type=media_type,
        size_bytes=len(content),
        classification=classification.value,
    )
    return Artefact(ref, content)


def digest_in(uri: str) -> str | None:
    """The SHA-256 (hex) a URI names, or None where it is not an artefact URI, to the letter."""
    found = _URI.fullmatch(uri)
    return found.group(1) if found else None
