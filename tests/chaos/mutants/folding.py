"""What is mutated in Python must be what folds."""

from __future__ import annotations

from typing import Any

from replayer.native import fold
from replayer.native.library import NoLibrary


def in_python() -> None:
    """Have the worker find no native library."""

    def none(*_: Any, **__: Any) -> None:
        raise NoLibrary("taken away for a mutation")

    fold.Library = none
