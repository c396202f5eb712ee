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
