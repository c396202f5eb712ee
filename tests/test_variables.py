"""No variable of the environment is read that `replayer config` and the README do not tell of."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import replayer
from replayer.settings import Settings, explain, markdown, unknown, variable
from replayer.variables import API_TOKEN, DEMO_EXIT, VARIABLES

ROOT = Path(replayer.__file__).parents[1]
READERS = {"replayer/variables.py", "replayer/settings/load.py"}
#: Whatever gets at the environment: os's own names, pydantic-settings' reader, an option that may come from it.
WAYS = re.compile(r"environb?|getenvb?|EnvSettingsSource|env_var")
KNOWN = {variable(name) for name in Settings.model_fields} | {known.name for known in VARIABLES}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for room in ("replayer", "topics"):
        for path in sorted((ROOT / room).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text("utf-8"))


def ways(tree: ast.AST) -> Iterator[str]:
    """Every mention of the environment, but for an option whose variable is one of the table's."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "env_var" and ast.unparse(node.value) == "DEMO_EXIT.name":
            continue
        name = next((found for kind in ("attr", "id", "arg", "name") if (found := getattr(node, kind, None))), None)
        if isinstance(name, str) and WAYS.fullmatch(name):
            yield f"{name} in line {getattr(node, 'lineno', '?')}"


def test_the_environment_is_read_in_one_place() -> None:
    found = {path: list(ways(tree)) for path, tree in sources() if path not in READERS}
    assert {path: where for path, where in found.items() if where} == {}, "read it as a replayer.variables.Variable"


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.environ['A']",
        "from os import environ as e",
        "import os; os.getenv('A')",
        "from os import getenv",
        "Parameter(env_var='A')",
        "from pydantic_settings import EnvSettingsSource",
    ],
)
def test_a_read_elsewhere_would_be_seen(code: str) -> None:
    assert list(ways(ast.parse(code)))


def test_that_place_reads_what_the_table_names_and_no_more() -> None:
    trees = dict(sources())
    reads = {ast.unparse(node) for node in ast.walk(trees["replayer/variables.py"]) if isinstance(node, ast.expr)}
    named = {read for read in reads if re.fullmatch(r"os\.environ(\.\w+\(.*\)|\[.*\])", read)}
    assert named == {"os.environ.get(self.name)", "os.environ.items()"}
    (source,) = {where.partition(" ")[0] for where in ways(trees["replayer/settings/load.py"])}
    assert source == "EnvSettingsSource", "which reads the settings and nothing else"


def test_no_sentence_names_a_variable_that_is_not_read() -> None:
    named = {
        (name, path)
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for name in re.findall(r"\bREPLAYER_[A-Z0-9_]*[A-Z0-9]\b", node.value)
    }
    assert {(name, path) for name, path in named if name not in KNOWN} == set()


def test_each_is_in_the_readmes_table_and_in_the_config() -> None:
    rows = {row.variable: row for row in explain(Settings())}
    assert set(rows) == KNOWN
    for name in KNOWN:
        assert f"| `{name}` |" in markdown()
    assert unknown(KNOWN) == []


def test_the_config_says_where_they_come_from_and_never_shows_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_TOKEN.name, "hunter2")
    monkeypatch.setenv(DEMO_EXIT.name, "")
    rows = {row.variable: row for row in explain(Settings())}
    assert (rows[API_TOKEN.name].value, rows[API_TOKEN.name].source) == ("********", "environment")
    assert (rows[DEMO_EXIT.name].value, rows[DEMO_EXIT.name].source) == ("unset", "default")
    assert rows[API_TOKEN.name].name is None
