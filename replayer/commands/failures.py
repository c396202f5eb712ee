"""How a command ends: exit codes that scripts can use, and one sentence on stderr.

| code | meaning |
|---|---|
| 0 | done |
| 1 | it failed, and the sentence says why |
| 2 | used wrongly: a command line, setting or input file that breaks a rule |
| 3 | what was asked for does not exist |
| 4 | a broker or worker cannot be reached, or cannot answer yet: trying again may help |
| 5 | a broker or worker refuses the credentials |
| 130 | interrupted by Ctrl-C |
"""

from __future__ import annotations

from enum import IntEnum

from replayer.core.errors import InvalidRun, ReplayerError


class Exit(IntEnum):
    """Exit codes; the table above is theirs."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNREACHABLE = 4
    REFUSED = 5
    INTERRUPTED = 130


class CommandFailed(ReplayerError):
    """A command cannot do what it was told; `code` is how the process ends."""

    def __init__(self, sentence: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(sentence)
        self.code = code


def exit_code(error: ReplayerError) -> Exit:
    """How the process ends after this error."""
    # Imported here: whoever raised one of these has imported its module already.
    from replayer.kafka.errors import AccessRefused, BrokerUnreachable
    from replayer.settings.errors import SettingsError

    if isinstance(error, CommandFailed):
        return error.code
    if isinstance(error, SettingsError | InvalidRun):
        return Exit.USAGE
    if isinstance(error, BrokerUnreachable):
        return Exit.UNREACHABLE
    return Exit.REFUSED if isinstance(error, AccessRefused) else Exit.FAILED
