"""schemas check: what changed between two releases' schemas, and whom it breaks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from replayer.commands import output
from replayer.commands.failures import CommandFailed, Exit
from replayer.commands.options import Json

_MOST_BYTES = 32 << 20


def check(
    old: Annotated[Path, Parameter(help="what `replayer schemas` of the older release printed")],
    new: Annotated[Path | None, Parameter(help="the same of the newer one; without it, this release's own")] = None,
    /,
    *,
    json: Json = False,
) -> int:
    """Compare two sets of schemas; exit code 1 where a change breaks somebody.

    A change breaks new readers where they could not read what older releases have written, which stays in the log, and
    old readers where they could not read what newer ones write, as they would while a deployment is rolled out.
    """
    from topics.compat import changes
    from topics.schemas import schemas

    before, after = _read(old), schemas() if new is None else _read(new)
    try:
        found = changes(before, after)
    except (AttributeError, KeyError, TypeError) as exc:
        named = f"{old} holds" if new is None else f"{old} or {new} holds"
        raise CommandFailed(f"{named} what is no JSON Schema: {_WANTED}", Exit.USAGE) from exc
    breaking = [change for change in found if not change.compatible]
    if json:
        output.say_json(
            {
                "compatible": not breaking,
                "changes": [
                    {
                        "path": change.path,
                        "what": change.what,
                        "breaks_new_readers": change.breaks_new,
                        "breaks_old_readers": change.breaks_old,
                    }
                    for change in found
                ],
            }
        )
    elif found:
        cells = [(change.path, change.what, _whom(change.breaks_new, change.breaks_old)) for change in found]
        output.stdout().print(output.table(("where", "what changed", "breaks"), cells))
        output.say(f"{len(found)} changes, {len(breaking)} of them break somebody.")
    else:
        output.say("Nothing has changed.")
    return Exit.FAILED if breaking else Exit.OK


def _whom(new: bool, old: bool) -> str:
    whom = [name for name, broken in (("new readers", new), ("old readers", old)) if broken]
    return " and ".join(whom) or "nobody"


def _read(path: Path) -> dict[str, dict[str, Any]]:
    import orjson

    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except OSError as exc:
        raise CommandFailed(f"{path} cannot be read ({exc.strerror}).", Exit.NOT_FOUND) from exc
    if len(raw) > _MOST_BYTES:
        raise CommandFailed(f"{path} has more than {_MOST_BYTES >> 20} MiB: {_WANTED}", Exit.USAGE)
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise CommandFailed(f"{path} is not JSON: {_WANTED}", Exit.USAGE) from exc
    if not isinstance(found, dict) or not all(isinstance(schema, dict) for schema in found.values()):
        raise CommandFailed(f"{path} holds no schemas by name: {_WANTED}", Exit.USAGE)
    return found


_WANTED = "give what `replayer schemas` prints."
