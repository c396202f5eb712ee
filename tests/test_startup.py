"""What answers before the app is there says no in the words of the app."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp

import replayer
from replayer.kafka.ports import free_port
from replayer.serve.problems import MEDIA_TYPE, ProblemDetails
from replayer.startup import alive_but_not_ready


async def test_it_is_alive_and_everything_else_is_the_problem_not_ready() -> None:
    port = free_port("127.0.0.1")
    async with alive_but_not_ready("127.0.0.1", port, "waiting for a broker"), aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/livez") as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "alive"})
        for path in ("/readyz", "/v1/workflows", "/"):
            async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                assert (answer.status, answer.headers["Content-Type"]) == (503, MEDIA_TYPE)
                assert int(answer.headers["Retry-After"]) >= 1
                said = ProblemDetails.model_validate_json(await answer.read())
                assert (said.type, said.detail) == ("urn:replayer:problem:not-ready", "waiting for a broker")


def test_problems_are_made_in_one_place() -> None:
    root = Path(replayer.__file__).parent
    makers = [
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if json.dumps(MEDIA_TYPE) in (text := path.read_text("utf-8")) or "about:blank" in text
    ]
    assert makers == ["serve/problems.py"]
