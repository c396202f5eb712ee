"""What a contender is told, as JSON on its command line. Standard library only: peers have their own environment."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Job:
    """Fold `topic` from its start as consumer group `group`, until told to end by SIGTERM.

    `settings` are the contender's own, as its definition in `benchmarks.materialise` lists them.
    """

    bootstrap: str
    topic: str
    partitions: int
    group: str
    data_dir: str
    port: int
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_argv(cls) -> Job:
        return cls(**json.loads(sys.argv[1]))

    def as_argument(self) -> str:
        return json.dumps(asdict(self))
