"""The artefact store: what goes in comes out verified, and nothing else ever does."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.core.artefacts import TEXT, artefact, digest_in
from replayer.storage.artefacts import STALE_S, ArtefactStore
from replayer.storage.errors import (
    ArtefactDamaged,
    ArtefactMissing,
    ArtefactTooLarge,
    InvalidReference,
    StoreUnusable,
)
from topics.classification import Classification
from topics.fields import ArtifactRef

RESTRICTED = Classification.RESTRICTED


def put(store: ArtefactStore, content: bytes = b"hello") -> ArtifactRef:
    return store.put(content, TEXT, RESTRICTED)


def stored(root: Path) -> list[Path]:
    return sorted(path for path in (root / "sha256").rglob("*") if path.is_file())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "below" / "artefacts"


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00\xff" * 5000, "żółć ✈".encode()])
def test_what_went_in_comes_out_and_is_named_by_its_hash(root: Path, content: bytes) -> None:
    ref = ArtefactStore(root).put(content, TEXT, RESTRICTED)
    assert ref.sha256 == hashlib.sha256(content).hexdigest()
    assert ref.uri == f"artefact:sha256/{ref.sha256}"
    assert (ref.size_bytes, ref.media_type, ref.classification) == (len(content), TEXT, "restricted")
    assert ArtefactStore(root).get(ref) == content, "another store over the same directory gives it as well"


def test_a_store_may_be_moved(root: Path, tmp_path: Path) -> None:
    ref = put(ArtefactStore(root))
    root.rename(tmp_path / "elsewhere")
    assert ArtefactStore(tmp_path / "elsewhere").get(ref) == b"hello"


def test_putting_again_writes_nothing(root: Path) -> None:
    store = ArtefactStore(root)
    ref = put(store)
    (file,) = stored(root)
    before = file.stat()
    assert put(store) == ref
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_nobody_else_may_read_what_is_stored(root: Path) -> None:
    put(ArtefactStore(root))
    for path in [root, *root.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_missing_artefact_has_a_name(root: Path) -> None:
    ref = artefact(b"never stored", TEXT, RESTRICTED).ref
    with pytest.raises(ArtefactMissing, match=ref.sha256):
        ArtefactStore(root).get(ref)


@pytest.mark.parametrize("damage", [b"", b"hell", b"hello!", b"jello"])
def test_damage_is_seen_and_healed_by_putting_again(root: Path, damage: bytes) -> None:
    store = ArtefactStore(root)
    ref = put(store)
    (file,) = stored(root)
    file.write_bytes(damage)
    with pytest.raises(ArtefactDamaged, match=ref.sha256):
        store.get(ref)
    assert put(store) == ref
    assert store.get(ref) == b"hello"


def test_a_reference_that_states_another_size_is_damage(root: Path) -> None:
    store = ArtefactStore(root)
    ref = put(store)
    with pytest.raises(ArtefactDamaged):
        store.get(ref.model_copy(update={"size_bytes": 4}))


@pytest.mark.parametrize(
    "uri",
    [
        "artefact:sha256/../../../../etc/passwd",
        "artefact:sha256/" + "A" * 64,
        "artefact:sha256/" + "٣" * 64,
        "artefact:sha256/" + "a" * 64 + "\n",
        "artefact:sha256/" + "a" * 63 + "/",
        "file:///etc/passwd",
        "/etc/passwd",
        "artefact:sha256/" + "b" * 64,
    ],
)
def test_a_path_never_comes_from_a_reference(root: Path, uri: str) -> None:
    ref = artefact(b"hello", TEXT, RESTRICTED).ref.model_copy(update={"uri": uri})
    with pytest.raises(InvalidReference):
        ArtefactStore(root).get(ref)


@given(st.text(max_size=120))
def test_only_the_scheme_itself_names_a_digest(uri: str) -> None:
    digest = digest_in(uri)
    assert digest is None or uri == f"artefact:sha256/{digest}"


def test_a_link_in_an_artefacts_place_is_not_followed(root: Path, tmp_path: Path) -> None:
    store = ArtefactStore(root)
    ref = put(store)
    (tmp_path / "secret").write_bytes(b"hello")
    (file,) = stored(root)
    file.unlink()
    file.symlink_to(tmp_path / "secret")
    with pytest.raises(StoreUnusable):
        store.get(ref)


def test_the_size_is_bounded_both_ways(root: Path) -> None:
    ref = put(ArtefactStore(root), b"12345")
    small = ArtefactStore(root, max_bytes=4)
    with pytest.raises(ArtefactTooLarge, match="5 bytes"):
        put(small, b"12345")
    with pytest.raises(ArtefactTooLarge, match="5 bytes"):
        small.get(ref)
    assert small.get(put(small, b"1234")) == b"1234"


def test_a_failed_write_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreUnusable, match="No space left on device"):
        put(ArtefactStore(root))
    assert stored(root) == []
    assert list((root / "incoming").iterdir()) == []


def test_a_root_that_is_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(StoreUnusable, match="name another directory"):
        put(ArtefactStore(tmp_path / "taken"))


def test_what_killed_writers_left_is_swept(root: Path) -> None:
    put(ArtefactStore(root))
    old, fresh = root / "incoming" / "old", root / "incoming" / "fresh"
    old.write_bytes(b"half")
    fresh.write_bytes(b"half")
    os.utime(old, (time.time() - STALE_S - 60,) * 2)
    put(ArtefactStore(root), b"another")
    assert [path.name for path in (root / "incoming").iterdir()] == ["fresh"]


def _write_all(root: Path) -> None:
    store = ArtefactStore(root)
    for number in range(50):
        put(store, str(number).encode() * 100)


def test_processes_share_one_directory(root: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_all, args=(root,)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert len(stored(root)) == 50
    store = ArtefactStore(root)
    for number in range(50):
        content = str(number).encode() * 100
        assert store.get(artefact(content, TEXT, RESTRICTED).ref) == content
