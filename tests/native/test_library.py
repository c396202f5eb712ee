"""The library: of these sources or none, sound hashes, and a panic that ends nothing but the native part of a step."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from replayer.core.decisions import Decision, Feedback
from replayer.core.head import Head
from replayer.core.rows import Sighting
from replayer.flows import tables
from replayer.native import library as native_library
from replayer.native.build import OPTIONS, build
from replayer.native.fold import NativeFold
from replayer.native.library import Library, NotDone, UnusableLibrary
from replayer.native.sources import DIRECTORY, LIBRARY, fingerprint
from replayer.native.wire import unread
from tests.core.timelines import document, fold, one_topic
from tests.drawn import MemoryRows
from tests.native.agreement import LIMIT, keyed, library


@given(st.binary(max_size=300) | st.integers(0, 5000).map(bytes))
def test_hashes_are_sha256_with_and_without_the_processors_help(data: bytes) -> None:
    assert library().sha256(data) == library().sha256(data, portable=True) == hashlib.sha256(data).digest()


@pytest.fixture(scope="module")
def panicking(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A library that panics on a certain event id, and its sources. No warning of the compiler is left over."""
    directory = tmp_path_factory.mktemp("panicking")
    sources, made = directory / "src", directory / LIBRARY.name
    shutil.copytree(DIRECTORY, sources)
    step = (sources / "step.rs").read_text()
    panic = 'if raw.windows(9).any(|at| at == b"panic-now") { panic!() }'
    marked = step.replace("let fields = Fields { raw,", f"{panic}\nlet fields = Fields {{ raw,", 1)
    assert marked != step
    (sources / "step.rs").write_text(marked)
    build(made, sources, (*OPTIONS, "-Dwarnings"))
    return made, sources


def test_a_panic_leaves_the_step_to_python(panicking: tuple[Path, Path], capfd: pytest.CaptureFixture[str]) -> None:
    other = Library(LIMIT, *panicking)
    native = NativeFold(partition_of=lambda _: 0, max_record_bytes=LIMIT, library=other)
    calm = keyed(one_topic(*(document("policy.evaluated", event_id=f"e{n}") for n in range(5))))
    assert native.fold(MemoryRows(), calm, 0, 0) == fold(MemoryRows(), calm)
    records = keyed(one_topic(*(document("policy.evaluated", event_id=f"{n}-panic-now") for n in range(5))))
    assert native.fold(MemoryRows(), records, 0, 0) == fold(MemoryRows(), records)
    assert native.fold(MemoryRows(), calm, 0, 0) == fold(MemoryRows(), calm)
    with other.step() as step:
        step.load(unread(other, records))
        for _ in range(2):
            with pytest.raises(NotDone):
                step.parse(9)
    assert capfd.readouterr().err == ""  # a panic's words may be a record's


def test_a_library_of_other_sources_is_refused(panicking: tuple[Path, Path]) -> None:
    made, sources = panicking
    Library(LIMIT, made, sources)
    with pytest.raises(UnusableLibrary, match="built of other sources than those beside it"):
        Library(LIMIT, made)
    with pytest.raises(UnusableLibrary, match="built of other sources"):
        Library(LIMIT, LIBRARY, sources)


def test_every_source_is_one_the_library_tells_of(tmp_path: Path) -> None:
    sources = tmp_path / "src"
    shutil.copytree(DIRECTORY, sources)
    assert fingerprint(sources) == fingerprint()
    for source in sources.iterdir():
        text = source.read_bytes()
        source.write_bytes(text + b"\n")
        assert fingerprint(sources) != fingerprint()
        source.write_bytes(text)
    (sources / "another.rs").write_text("")
    with pytest.raises(UnusableLibrary):
        Library(LIMIT, LIBRARY, sources)


def test_events_it_has_no_words_for_are_refused() -> None:
    told = mock.patch.object(native_library, "description", side_effect=TypeError("no word for it"))
    with told, pytest.raises(UnusableLibrary, match="no word for it"):
        Library(LIMIT)
    told = mock.patch.object(native_library, "description", return_value=b"\x93\x01\xa1t\x91\x92\xa1x\x90")
    with told, pytest.raises(UnusableLibrary, match="miss a field"):
        Library(LIMIT)


def test_the_rows_have_the_fields_that_are_written_out_in_rust() -> None:
    """Fields are appended to rows: whoever does it, does it in src/head.rs, decision.rs and rows.rs as well."""
    for struct, source in ((Head, "head.rs"), (Decision, "decision.rs")):
        text = (DIRECTORY / source).read_text()
        assert f"const FIELDS: usize = {len(struct.__struct_fields__)};" in text
    assert Sighting.__struct_fields__ == ("variant", "occurred_us", "topic", "partition", "offset", "index")
    assert Feedback.__struct_fields__ == ("score", "label", "evaluator", "reviewer_kind", "downstream_outcome")


def test_a_worker_folds_natively_where_it_can() -> None:
    with capture_logs() as lines:
        spec = tables.timelines(4, lambda key, partitions: 0, LIMIT)
    assert lines == [{"event": "timelines are folded by native code", "log_level": "info"}]
    assert isinstance(spec.fold.__self__, NativeFold)  # type: ignore[attr-defined] # a method's
