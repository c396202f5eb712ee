"""`python -m replayer.native.build`: the native library of the sources beside this file, if rustc is on the PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from replayer.native.library import NoLibrary, loaded
from replayer.native.sources import DIRECTORY, LIBRARY

OPTIONS = (
    "--edition=2021", "--crate-type=cdylib", "--crate-name=fold", "-Copt-level=3", "-Ccodegen-units=1",
    "-Coverflow-checks=on", "-Cpanic=unwind", "-Cstrip=symbols",
)  # fmt: skip


def build(path: Path = LIBRARY, sources: Path = DIRECTORY, options: Sequence[str] = OPTIONS) -> None:
    """Make the library anew. Raises FileNotFoundError without rustc, CalledProcessError where it refuses them."""
    rustc = shutil.which("rustc")
    if rustc is None:
        raise FileNotFoundError("rustc is not on the PATH")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".build-") as directory:
        made = Path(directory) / path.name
        subprocess.run([rustc, *options, "-o", made, sources / "lib.rs"], check=True)
        os.replace(made, path)  # a process that has the old one loaded keeps it


def up_to_date() -> str | None:
    """Build the library where it is not that of the sources; why that cannot be, or None. Raises CalledProcessError."""
    try:
        loaded()
    except NoLibrary:
        try:
            build()
        except FileNotFoundError as exc:
            return str(exc)
    return None


def main() -> int:
    try:
        build()
    except FileNotFoundError as exc:
        print(f"the fold in Python is used: {exc}")  # noqa: T201 - a command
    except subprocess.CalledProcessError:
        print("the fold in Python is used: rustc did not take the sources")  # noqa: T201 - a command
        return 1
    else:
        print(f"the native fold is built: {LIBRARY.name}")  # noqa: T201 - a command
    return 0


if __name__ == "__main__":
    sys.exit(main())
