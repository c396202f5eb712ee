"""A content-addressed artefact store in a directory: the texts and blobs that events refer to.

Layout: `<root>/sha256/ab/abcd…` (64 hex digits), files of mode 0600, written under `<root>/incoming` first.
References are those of `replayer.core.artefacts`: they name the content, not the directory, so a store can be moved.
Callers know `put` and `get` only; another backend takes this module's place without a change to the log.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from pathlib import Path

from replayer.core.artefacts import artefact, digest_in
from replayer.storage.errors import (
    ArtefactDamaged,
    ArtefactMissing,
    ArtefactTooLarge,
    InvalidReference,
    StoreUnusable,
)
from topics.classification import Classification
from topics.fields import ArtifactRef

#: Far above any prompt or document, and small enough to be held in memory while it is hashed.
MAX_BYTES = 64 << 20
#: A writer that was killed leaves its unfinished file behind; none takes this long.
STALE_S = 3600.0


class ArtefactStore:
    """Puts and gets bytes by their SHA-256. Any number of threads and processes may share one directory.

    Args:
        root: the directory; made when the first artefact is put.
        max_bytes: the largest artefact it takes or gives.
    """

    def __init__(self, root: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._swept = False

    def put(self, content: bytes, media_type: str, classification: Classification) -> ArtifactRef:
        """Store the bytes and return their reference once they are on disk, whole or not at all.

        Putting the same bytes again changes nothing, and heals a damaged copy. Raises ArtefactTooLarge, StoreUnusable.
        """
        if len(content) > self._max_bytes:
            raise ArtefactTooLarge(f"An artefact of {len(content)} bytes is over the bound of {self._max_bytes}.")
        ref = artefact(content, media_type, classification).ref
        path = self._path(ref.sha256)
        try:
            if _content(path, len(content)) != content:
                self._write(path, content)
        except OSError as error:
            raise self._unusable(error) from error
        return ref

    def get(self, ref: ArtifactRef) -> bytes:
        """The bytes of a reference, verified: their size and SHA-256 are the reference's.

        Raises InvalidReference, ArtefactMissing, ArtefactDamaged, ArtefactTooLarge, StoreUnusable.
        """
        digest = digest_in(ref.uri)
        if digest is None or digest != ref.sha256:
            raise InvalidReference(
                "The reference's uri is not artefact:sha256/<its own sha256>: no artefact store gave it out."
            )
        if ref.size_bytes > self._max_bytes:
            raise ArtefactTooLarge(f"Artefact {digest} has {ref.size_bytes} bytes; the bound is {self._max_bytes}.")
        try:
            content = _content(self._path(digest), ref.size_bytes)
        except OSError as error:
            raise self._unusable(error) from error
        if content is None:
            raise ArtefactMissing(f"Artefact {digest} is not in {self._root}: never stored here, or erased.")
        if len(content) != ref.size_bytes or hashlib.sha256(content).hexdigest() != digest:
            raise ArtefactDamaged(f"Artefact {digest} in {self._root} is damaged: restore it from a backup.")
        return content

    def _path(self, digest: str) -> Path:
        return self._root / "sha256" / digest[:2] / digest

    def _write(self, path: Path, content: bytes) -> None:
        # A name appears only when its bytes are on disk (file, then rename, then directory), so that a power cut leaves
        # either nothing or everything.
        incoming = self._root / "incoming"
        self._root.parent.mkdir(parents=True, exist_ok=True)
        for directory in (self._root, incoming, path.parent.parent, path.parent):
            _make(directory)
        self._sweep(incoming)
        handle, name = tempfile.mkstemp(dir=incoming)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync(path.parent)

    def _sweep(self, incoming: Path) -> None:
        if self._swept:
            return
        self._swept = True
        for left in incoming.iterdir():
            try:
                if time.time() - left.lstat().st_mtime > STALE_S:
                    left.unlink()
            except FileNotFoundError:
                continue  # its writer finished, or another process swept it

    def _unusable(self, error: OSError) -> StoreUnusable:
        return StoreUnusable(
            f"The artefact directory {self._root} cannot be used ({error.strerror}): "
            "change its permissions, free space on its disk, or name another directory."
        )


def _content(path: Path, size: int) -> bytes | None:
    """The file's bytes, at most one more than `size` (enough to see that it is too long); None where there is none."""
    try:
        # Never through a link: what the store wrote are plain files.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as file:
        return file.read(size + 1)


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        return
    _sync(directory.parent)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
