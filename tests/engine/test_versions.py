"""The engine runs on the versions it was written against, and on no other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from replayer.engine import versions


def test_what_is_installed_is_accepted():
    versions.check_versions()


def test_the_pins_are_the_projects():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    exact = dict(
        re.match(r"([\w-]+)(?:\[.*\])?==(.+)", line).groups() for line in project["dependencies"] if "==" in line
    )
    assert exact == versions.PINNED


def test_every_other_version_is_named_with_what_to_do(monkeypatch):
    found = {**versions.PINNED, "aiokafka": "0.15.0"}
    monkeypatch.setattr(versions, "version", found.__getitem__)
    with pytest.raises(versions.UnsupportedVersion, match=r"aiokafka 0\.15\.0 \(needs 0\.14\.0\)\. .*make install"):
        versions.check_versions()


@pytest.mark.parametrize("role", ["worker", "investigator"])
def test_other_versions_are_refused_before_anything_of_theirs_is_imported(role, tmp_path):
    (tmp_path / "aiokafka").mkdir()
    (tmp_path / "aiokafka" / "__init__.py").write_text("raise ImportError('has no such thing')")
    (tmp_path / "aiokafka-0.1.dist-info").mkdir()
    (tmp_path / "aiokafka-0.1.dist-info" / "METADATA").write_text("Name: aiokafka\nVersion: 0.1\n")
    done = subprocess.run(
        [sys.executable, "-m", "replayer.cli", role, "--broker", "127.0.0.1:1"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "aiokafka 0.1 (needs 0.14.0)" in done.stderr
    assert "make install" in done.stderr
    assert "bug" not in done.stderr


def test_a_missing_package_is_named(monkeypatch):
    def missing(package):
        raise versions.PackageNotFoundError(package)

    monkeypatch.setattr(versions, "version", missing)
    with pytest.raises(versions.UnsupportedVersion, match=r"rocksdict none"):
        versions.check_versions()
