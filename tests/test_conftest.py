"""The suite itself: a skipped test makes a run red, wherever it is skipped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import NOT_HERE

CONFTEST = Path(__file__).with_name("conftest.py")


SKIPPED = {
    "test_mark.py": "import pytest\n@pytest.mark.skip\ndef test_it(): pass",
    "test_call.py": "import pytest\ndef test_it(): pytest.skip('no broker')",
    "test_module.py": "import pytest\npytest.importorskip('no_such_module')\ndef test_it(): pass",
}
KEPT = {
    "test_pass.py": "def test_it(): pass",
    "test_data.py": f"import pytest\ndef test_it(): pytest.skip({NOT_HERE!r})",
    "test_expected.py": "import pytest\n@pytest.mark.xfail(strict=True)\ndef test_it(): assert 0",
}


@pytest.mark.parametrize(
    ("skipped", "processes"),
    [(SKIPPED, ()), ({}, ()), (SKIPPED, ("-n", "2"))],
    ids=["skipped", "none", "skipped, in two processes"],
)
def test_a_skipped_test_makes_the_run_red(tmp_path, monkeypatch, skipped, processes):
    monkeypatch.setenv("REPLAYER_BROKER", "127.0.0.1:1")  # none is needed
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    for name, text in (skipped | KEPT).items():
        (tmp_path / name).write_text(text)
    run = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
        *processes,
    ]
    done = subprocess.run(run, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == (1 if skipped else 0), done.stdout
    told = done.stdout.partition("skipped, which counts as failed")[2]
    assert all(name in told for name in skipped)
    assert not any(name in told for name in KEPT)


def test_two_tests_with_one_id_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("REPLAYER_BROKER", "127.0.0.1:1")
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "test_it.py").write_text("def test_it(): pass")
    twice = (
        "import pytest\n"
        "@pytest.hookimpl(tryfirst=True)\n"
        "def pytest_collection_modifyitems(items):\n"
        "    items.append(pytest.Function.from_parent(items[0].parent, name='test_it'))\n"
    )
    (tmp_path / "twice.py").write_text(twice)
    run = [sys.executable, "-m", "pytest", "-p", "twice", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "."]
    done = subprocess.run(run, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    assert "only one of them would be run: ['test_it.py::test_it']" in done.stderr
