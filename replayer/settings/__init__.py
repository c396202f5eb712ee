"""One table of settings, read once, frozen. Every variable starts with REPLAYER_."""

from replayer.settings.errors import SettingsError
from replayer.settings.explain import Row, explain, markdown
from replayer.settings.load import load, unknown, variable
from replayer.settings.table import Role, Settings, Token

__all__ = [
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
