"""Prints the part of constraints.txt that replayer needs to run: no extras, no tools, the same pins and hashes.

Runs in an environment with all of constraints.txt installed, whose metadata say who needs whom.
Usage: python runtime_requirements.py [directory of pyproject.toml and constraints.txt]
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(requirements: Iterable[str]) -> set[str]:
    """Names of the packages that the requirements come to, extras they ask for included, on this platform."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = [(requirement, frozenset[str]()) for requirement in requirements]
    while waiting:
        text, extras_of_parent = waiting.pop()
        requirement = Requirement(text)
        if requirement.marker and not any(
            requirement.marker.evaluate({"extra": extra}) for extra in extras_of_parent | {""}
        ):
            continue
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in found:
            continue
        found.add((name, extras))
        try:
            waiting += [(further, extras) for further in requires(name) or []]
        except PackageNotFoundError:
            sys.exit(f"{name} is needed and not installed: install constraints.txt first")
    return {name for name, _ in found}


def entries(constraints: str) -> Iterator[tuple[str, str]]:
    """(package, its lines) of each entry of a hashed requirements file."""
    for entry in re.split(r"\n(?=\S)", constraints.strip()):
        if not entry.startswith("#"):
            yield canonicalize_name(re.split(r"[=\[ ;]", entry, maxsplit=1)[0]), entry


def runtime_requirements(directory: Path) -> str:
    """The part of `directory`'s constraints.txt that its pyproject.toml's own dependencies come to."""
    project = tomllib.loads((directory / "pyproject.toml").read_text("utf-8"))["project"]
    names = needed(project["dependencies"])
    pinned = dict(entries((directory / "constraints.txt").read_text("utf-8")))
    missing = names - pinned.keys()
    if missing:
        sys.exit(f"constraints.txt has no {', '.join(sorted(missing))}: run `make lock`")
    return "".join(f"{pinned[name]}\n" for name in sorted(names))


if __name__ == "__main__":
    sys.stdout.write(runtime_requirements(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
