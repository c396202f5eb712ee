"""schemas, config: what this installation knows, and how it is set."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from replayer.commands import output
from replayer.commands.failures import CommandFailed, Exit
from replayer.commands.options import Json


def schemas(
    name: Annotated[
        str | None, Parameter(help="such as model.invocation_completed or dead-letters; without it, all of them")
    ] = None,
    /,
    *,
    names: Annotated[bool, Parameter(negative="", help="a table of the names instead")] = False,
) -> int:
    """Print the JSON Schema of one kind of record, or of all as one object by name.

    Events are named by their type, commands, progress, results and dead letters (their headers) by their topic.
    """
    from topics.schemas import KINDS, schema
    from topics.schemas import schemas as all_schemas

    if names:
        rows = [(kind.name, kind.topic, str(kind.schema_version)) for kind in KINDS.values()]
        output.stdout().print(output.table(("name", "topic", "schema version"), rows))
    elif name is None:
        output.say_json(all_schemas())
    elif name in KINDS:
        output.say_json(schema(name))
    else:
        raise CommandFailed(f"There is no schema of {name}: {_near(name, list(KINDS))}.", Exit.NOT_FOUND)
    return Exit.OK


def _near(name: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]}" if near else "`replayer schemas --names` lists them"


def config(*, json: Json = False) -> int:
    """Print every setting, its value and where it came from. Secrets are masked."""
    from dataclasses import asdict

    from replayer.settings import explain, load, unknown
    from replayer.variables import ours

    rows = explain(load())
    for warning in unknown(ours()):
        output.complain(warning)
    if json:
        output.say_json([asdict(row) for row in rows])
    else:
        cells = [(row.variable, row.value, row.source, row.help) for row in rows]
        output.stdout().print(output.table(("variable", "value", "from", "what it does"), cells))
    return Exit.OK
