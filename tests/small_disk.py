"""A disk of a few mebibytes that can be filled: a tmpfs that only those see who are started `within` it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Self

_BLOCK = 64 << 10


class SmallDisk:
    """Use as `with`. Mounted over `at` in a mount namespace that lives as long as this does; root is not needed."""

    def __init__(self, at: Path, mebibytes: int) -> None:
        self._at, self._mebibytes = at, mebibytes

    def __enter__(self) -> Self:
        self._at.mkdir(parents=True, exist_ok=True)
        script = 'mount -t tmpfs -o size="$1"m tmpfs "$2" && echo mounted && exec sleep infinity'
        self._keeper = subprocess.Popen(
            ["unshare", "-Urm", "sh", "-c", script, "sh", str(self._mebibytes), str(self._at)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._keeper.stdout is not None
        assert self._keeper.stderr is not None
        if self._keeper.stdout.readline() != b"mounted\n":
            said = self._keeper.stderr.read().decode()
            raise OSError(f"no disk could be mounted ({said}): are user namespaces allowed on this machine?")
        return self

    def __exit__(self, *_: object) -> None:
        self._keeper.kill()
        self._keeper.communicate()

    @property
    def within(self) -> tuple[str, ...]:
        """The command under which a process sees it."""
        return ("nsenter", "-t", str(self._keeper.pid), "-U", "-m", "--preserve-credentials", f"--wd={os.getcwd()}")

    @property
    def path(self) -> Path:
        """The disk as seen from here."""
        return Path(f"/proc/{self._keeper.pid}/root{self._at}")

    def fill(self) -> None:
        """Take all that is free."""
        with (self.path / "filler").open("ab", buffering=0) as filler:
            size = _BLOCK
            while size:
                try:
                    filler.write(bytes(size))
                except OSError:
                    size //= 2

    def free(self) -> None:
        """Give it back."""
        (self.path / "filler").unlink()
