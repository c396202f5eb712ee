"""One table of settings, read once, frozen. Every variable starts with REPLAYER_."""

from replayer.settings.errors import SettingsError
from replayer.settings.explain import Row, explain, markdown
from replayer.settings.load import FILE_VARIABLE, load, unknown, variable
from replayer.settings.table import Role, Settings, Token

__all__ = [
    "FILE_VARIABLE",
    "Role",
    "Row",
    "Settings",
    "SettingsError",
    "Token",
    "explain",
    "load",
    "markdown",
    "unknown",
    "variable",
]
