"""Mutation: no producer fences its predecessor, for each start has a transactional id of its own."""

from __future__ import annotations

import secrets
import sys
from typing import Any

from replayer.cli import main
from replayer.engine import producer
from replayer.engine.producer import LaneProducer
from tests.chaos.mutants import sound

_Producer = producer.AIOKafkaProducer


def unfenced(**arguments: Any) -> Any:
    arguments["transactional_id"] += f"-{secrets.token_hex(4)}"
    return _Producer(**arguments)


if __name__ == "__main__":
    producer.AIOKafkaProducer = unfenced  # type: ignore[misc,assignment] # the mutation
    LaneProducer.publish = sound.publish  # type: ignore[method-assign] # its pause point
    sys.exit(main())
