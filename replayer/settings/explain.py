"""Settings and the other variables as people read them: `replayer config`, and the README's table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from replayer.settings.load import variable
from replayer.settings.table import Settings, Token
from replayer.variables import VARIABLES, Variable

MASK = "********"


@dataclass(frozen=True, slots=True)
class Row:
    """One setting, or another variable: those have no `name`, for they may not stand in the file.

    `source` is default, file, environment or argument (of tokens also tokens_file); secrets are masked in `value`.
    """

    name: str | None
    variable: str
    value: str
    source: str
    help: str


def explain(settings: Settings) -> list[Row]:
    """Every setting in the table's order, then every other variable that is read."""
    return [*_settings(settings), *(_other(known) for known in VARIABLES)]


def _settings(settings: Settings) -> list[Row]:
    return [
        Row(
            name,
            variable(name),
            shown(getattr(settings, name)),
            settings._sources.get(name, "default"),
            str(field.description),
        )
        for name, field in Settings.model_fields.items()
    ]


def _other(known: Variable) -> Row:
    value = known.read()
    said = shown(SecretStr(value) if known.secret and value else value)
    return Row(None, known.name, said, "default" if value is None else "environment", known.help)


def shown(value: Any) -> str:
    """A value as one line, secrets masked."""
    if value is None:
        return "unset"
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, tuple):
        return (
            ", ".join(f"{item.name} ({item.role})" if isinstance(item, Token) else str(item) for item in value)
            or "none"
        )
    return str(value)


def markdown() -> str:
    """The README's table of settings and other variables."""
    lines = ["| variable | default | what it does |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default is PydanticUndefined else shown(field.default)
        text = str(field.description).replace("|", r"\|")
        lines.append(f"| `{variable(name)}` | {default} | {text} |")
    lines += [f"| `{known.name}` | unset | {known.help} |" for known in VARIABLES]
    return "\n".join(lines) + "\n"
