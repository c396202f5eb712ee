"""The Rust sources beside this file, and the library built of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

DIRECTORY = Path(__file__).parent / "src"
#: Not `.so`: whatever looks for modules would take it for one of Python's.
LIBRARY = Path(__file__).parent / "fold.cdylib"


def fingerprint(directory: Path = DIRECTORY) -> bytes:
    """What a library says it is made of: the SHA-256 over name, NUL, SHA-256 of each source, in the order of names."""
    sources = sorted(directory.glob("*.rs"))
    return hashlib.sha256(
        b"".join(source.name.encode() + b"\0" + hashlib.sha256(source.read_bytes()).digest() for source in sources)
    ).digest()
