"""The README's tables, made from what they describe. `python -m tests.readme_tables` writes them into README.md."""

from __future__ import annotations

import re
from pathlib import Path

from replayer.cli import COMMANDS
from replayer.commands import failures
from replayer.serve.routes import OPERATIONS
from replayer.settings import markdown

README = Path(__file__).parent.parent / "README.md"


def commands() -> str:
    lines = ["| command | what it does |", "|---|---|"]
    lines += [f"| `replayer {words}` | {text} |" for words, _, text in COMMANDS]
    return "\n".join(lines) + "\n"


def exit_codes() -> str:
    table = [line.strip() for line in str(failures.__doc__).splitlines() if line.strip().startswith("|")]
    return "\n".join(table) + "\n"


def endpoints() -> str:
    lines = ["| endpoint | who may | what it answers | parameters |", "|---|---|---|---|"]
    for operation in OPERATIONS:
        names = (field.alias or name for name, field in operation.query.model_fields.items())
        parameters = ", ".join(f"`{name}`" for name in names)
        who = operation.needs.value if operation.needs else "anyone"
        lines.append(f"| `{operation.method} {operation.path}` | {who} | {operation.summary} | {parameters} |")
    return "\n".join(lines) + "\n"


TABLES = {"commands": commands, "exit codes": exit_codes, "endpoints": endpoints, "settings": markdown}


def written(text: str) -> str:
    """The README's text with every table as it should be. Raises KeyError for a table whose place is missing."""
    for name, make in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise KeyError(f"README.md has no place for the table of {name}")
        table = make()
        text = pattern.sub(lambda found, table=table: found[1] + table + found[2], text)
    return text


if __name__ == "__main__":
    README.write_text(written(README.read_text("utf-8")), "utf-8")
