"""The one way settings fail."""

from __future__ import annotations

from replayer.core.errors import ReplayerError


class SettingsError(ReplayerError):
    """A setting is missing or wrong. `problems`: one sentence for each, naming its variable and what to do."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))
