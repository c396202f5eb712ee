"""The engine runs on the versions it was written against, and on no other."""

from __future__ import annotations

import re
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


def test_a_missing_package_is_named(monkeypatch):
    def missing(package):
        raise versions.PackageNotFoundError(package)

    monkeypatch.setattr(versions, "version", missing)
    with pytest.raises(versions.UnsupportedVersion, match=r"rocksdict none"):
        versions.check_versions()
