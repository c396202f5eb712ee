"""Where settings come from: arguments, the environment, the TOML file REPLAYER_CONFIG names; in this order."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource
from pydantic_settings import SettingsError as SourceError

from replayer.settings.errors import SettingsError
from replayer.settings.table import Settings
from replayer.variables import CONFIG, PREFIX, VARIABLES


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def load(**overrides: Any) -> Settings:
    """Read every setting once. An override of None counts as not given. Raises SettingsError naming each variable."""
    given = {name: value for name, value in overrides.items() if value is not None}
    file, environment = _file(), _environment()
    values = {**file, **environment, **given}
    named, tokens = values.get("tokens_file"), values.get("tokens", ())
    more = Path(named) if named and isinstance(named, str | Path) and isinstance(tokens, list | tuple) else None
    if more is not None:  # else the table refuses them
        values["tokens"] = [*tokens, *_tokens(more)]
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise SettingsError(*_sentences(error)) from None
    settings._sources.update(
        dict.fromkeys(file, "file") | dict.fromkeys(environment, "environment") | dict.fromkeys(given, "argument")
    )
    if more is not None:
        said = settings._sources.get("tokens")
        settings._sources["tokens"] = f"{said} and tokens_file" if said else "tokens_file"
    return settings


def unknown(names: Iterable[str]) -> list[str]:
    """A sentence for each name that looks like a misspelt variable: a warning, for others may use the prefix too."""
    known = {variable(name) for name in Settings.model_fields} | {other.name for other in VARIABLES}
    return [
        f"{name} is not a setting of replayer; did you mean {near[0]}?"
        for name in sorted(names)
        if name.startswith(PREFIX)
        and name not in known
        and (near := difflib.get_close_matches(name, sorted(known), 1, cutoff=0.85))
    ]


def _environment() -> dict[str, Any]:
    source = EnvSettingsSource(Settings)
    try:
        return source()
    except SourceError as error:
        wrong = next((name for name in Settings.model_fields if f'"{name}"' in str(error)), "a setting")
        raise SettingsError(f"{variable(wrong)} is not valid JSON: {_help(wrong)}.") from None


def _file() -> dict[str, Any]:
    named = CONFIG.read()
    if not named:
        return {}
    try:
        with open(named, "rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{CONFIG.name} names {named}, which cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{CONFIG.name} names {named}, which is not valid TOML: {error}.") from error
    strange = sorted(set(values) - set(Settings.model_fields))
    if strange:
        raise SettingsError(f"{named}: {', '.join(strange)}: no such setting. `replayer config` lists them all.")
    return values


def _tokens(path: Path) -> list[Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"REPLAYER_TOKENS_FILE names {path}, which cannot be read ({error.strerror}).") from error
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise SettingsError(f"REPLAYER_TOKENS_FILE: {path} must hold a JSON list. {_help('tokens')}.")
    return found


def _sentences(error: ValidationError) -> list[str]:
    sentences = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        name, *inner = map(str, problem["loc"])
        where = "".join(f"[{part}]" for part in inner)
        if name not in Settings.model_fields:
            sentences.append(f"{name}: no such setting. `replayer config` lists them all.")
            continue
        said = problem["msg"].removeprefix("Value error, ")
        sentences.append(f"{variable(name)}{where}: {said}. ({_help(name)}.)")
    return sentences


def _help(name: str) -> str:
    field = Settings.model_fields.get(name)
    return (field.description or "") if field else ""
