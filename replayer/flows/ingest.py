"""The agents: one for each source topic, handing every batch to the lane of its partition."""

from __future__ import annotations

from typing import Any

from replayer.engine.engine import Engine


def attach_agents(engine: Engine) -> None:
    """Subscribe an agent to every source of every table of the engine.

    An agent never waits and never raises: waiting is the lane's (it suspends fetching), and a failure is a value.
    """
    for topic in dict.fromkeys(topic for spec in engine.specs.values() for topic in spec.sources):
        _attach(engine, topic)


def _attach(engine: Engine, topic: str) -> None:
    async def ingest(stream: Any) -> None:
        async for batch in stream:
            engine.deliver(batch)

    engine.app.agent(engine.channel(topic), name=f"ingest-{topic}")(ingest)
