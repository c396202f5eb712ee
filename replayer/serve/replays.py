"""One replay, as the worker's table of replays has it: no investigator need be alive to be asked."""

from __future__ import annotations

from aiohttp import web

from replayer.core import replays
from replayer.serve.owner import elsewhere, rows_here
from replayer.serve.ports import REPLAYS
from replayer.serve.problems import not_found
from replayer.serve.site import Call, answer


async def replay(call: Call) -> web.Response:
    replay_id = call.ids["replay_id"]
    if (relayed := await elsewhere(call, REPLAYS, replay_id)) is not None:
        return relayed
    found = replays.read(rows_here(call, REPLAYS, call.site.tables.partition_of(replay_id)), replay_id)
    if found is None:
        raise not_found("Nobody has started a replay under this id.")
    return answer(call, found)
