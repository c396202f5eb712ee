"""timeline: what happened in a workflow, for a person."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from replayer.commands import output
from replayer.commands.failures import Exit
from replayer.commands.options import Json, Url
from replayer.commands.views import views


def timeline(
    workflow_id: Annotated[str, Parameter(name="ID", help="the workflow's id")],
    /,
    *,
    tenant: Annotated[str | None, Parameter(help="whose workflow [default: the worker's default tenant]")] = None,
    order: Annotated[
        Literal["occurred", "commit"], Parameter(help="by the producers' clocks and decision, or as it arrived")
    ] = "occurred",
    family: Annotated[str | None, Parameter(help="only this topic's events, such as model-invocations")] = None,
    from_: Annotated[str | None, Parameter(name="--from", help="only events at or after this RFC 3339 time")] = None,
    to: Annotated[str | None, Parameter(help="only events before this RFC 3339 time")] = None,
    limit: Annotated[int, Parameter(validator=Number(gte=1), help="at most so many events")] = 10_000,
    url: Url = None,
    json: Json = False,
) -> int:
    """Show what happened in a workflow: by decision, with times, durations and what stands out. Asks a worker.

    References to texts are shown as size and the first 8 digits of their SHA-256.
    """
    asked = views(url)
    workflow = asked.get("v1", "workflows", workflow_id, tenant=tenant)
    found = asked.pages(
        "v1", "workflows", workflow_id, "timeline", tenant=tenant, order=order, family=family, from_=from_, to=to
    )
    items = list(islice(found, limit))
    more = next(found, None) is not None
    if json:
        output.say_json({"workflow": workflow, "items": items, "more": more})
        return Exit.OK
    from replayer.commands import rendering

    output.stdout().print(rendering.timeline(workflow, items, grouped=order == "occurred"))
    if more:
        output.complain(f"only the first {limit} events are shown; --limit shows more")
    return Exit.OK
