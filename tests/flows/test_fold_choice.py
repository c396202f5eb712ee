"""Which fold a worker uses: native where its library can be used, else Python's, and the log says so either way."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from structlog.testing import capture_logs

from replayer.core.outcome import whole
from replayer.core.timeline import TimelineFold
from replayer.flows import tables
from replayer.native import library
from replayer.native.library import Library, NoLibrary, UnusableLibrary
from tests.core.timelines import document, fold, one_topic
from tests.drawn import MemoryRows


def chosen(**asked: Any) -> tuple[dict[str, Any], Any]:
    """The line of the log, and the fold."""
    with capture_logs() as lines:
        spec = tables.timelines(4, lambda key, partitions: 0, 1 << 20, **asked)
    (line,) = lines
    return line, spec.fold


def test_without_a_library_python_folds(tmp_path: Path) -> None:
    with pytest.raises(NoLibrary, match="rustc"):
        Library(1 << 20, tmp_path / "nothing")
    with mock.patch.object(library, "loaded", side_effect=NoLibrary("there is none")):
        line, made = chosen()
    assert line == {"event": "timelines are folded in Python", "reason": "there is none", "log_level": "info"}
    assert isinstance(made.__self__, TimelineFold)
    records = one_topic(document("policy.evaluated"))
    assert whole(made(MemoryRows(), records, 0, 0)) == fold(MemoryRows(), records)


def test_what_cannot_be_loaded_is_refused_and_warned_of(tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"\x7fELF of another machine")
    with pytest.raises(UnusableLibrary, match="cannot be loaded") as refused:
        Library(1 << 20, tmp_path / "broken")
    with mock.patch.object(library, "loaded", side_effect=refused.value):
        line, made = chosen()
    assert line["log_level"] == "warning"
    assert line["reason"] == str(refused.value)
    assert isinstance(made.__self__, TimelineFold)


def test_python_can_be_asked_for() -> None:
    line, made = chosen(fold="python")
    assert line["reason"] == "REPLAYER_FOLD=python"
    assert isinstance(made.__self__, TimelineFold)
