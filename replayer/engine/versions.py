"""The exact versions whose insides the engine reaches into, and the check at start-up."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from replayer.core.errors import ReplayerError

PINNED = {
    "faust-streaming": "0.15.3",
    "mode-streaming": "0.7.1",
    "aiokafka": "0.14.0",
    "rocksdict": "0.3.29",
}


class UnsupportedVersion(ReplayerError):
    """A pinned package has another version than the engine was written against."""


def check_versions() -> None:
    """Refuse to start on other versions: private methods may have changed under us.

    Raises:
        UnsupportedVersion: names every package that differs and what to do.
    """
    wrong = []
    for package, wanted in PINNED.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            found = "none"
        if found != wanted:
            wrong.append(f"{package} {found} (needs {wanted})")
    if wrong:
        raise UnsupportedVersion(
            "replayer's engine replaces private methods of its libraries and refuses other versions: "
            f"{', '.join(wrong)}. Install from constraints.txt (`make install`)."
        )
