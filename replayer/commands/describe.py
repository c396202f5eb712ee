"""schemas, config: what this installation knows, and how it is set."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from replayer.commands import output
from replayer.commands.failures import CommandFailed, Exit
from replayer.commands.options import Json


def schemas(
    event_type: Annotated[
        str | None, Parameter(help="such as model.invocation_completed; without it, all of them")
    ] = None,
    /,
    *,
    names: Annotated[bool, Parameter(negative="", help="a table of the event types instead")] = False,
) -> int:
    """Print the JSON Schema of one event type, or of all as one object by event type."""
    from topics.registry import EVENT_TYPES
    from topics.schemas import schema
    from topics.schemas import schemas as all_schemas

    if names:
        rows = [(known.name, known.family, str(known.schema_version)) for known in EVENT_TYPES.values()]
        output.stdout().print(output.table(("event type", "topic", "schema version"), rows))
    elif event_type is None:
        output.say_json(all_schemas())
    elif event_type in EVENT_TYPES:
        output.say_json(schema(event_type))
    else:
        raise CommandFailed(
            f"There is no event type {event_type}: {_near(event_type, list(EVENT_TYPES))}.", Exit.NOT_FOUND
        )
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
