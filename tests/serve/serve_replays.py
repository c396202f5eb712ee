"""Replays as rows: commands and progress, folded into a fake cluster."""

from __future__ import annotations

from datetime import timedelta

from tests.serve.serve_cluster import Cluster
from tests.serve.serve_data import NOON, Log
from topics.catalogue import REPLAY_COMMANDS, REPLAY_PROGRESS
from topics.commands import (
    FromEarliest,
    ReplayCommand,
    ReplaySpec,
    SelectWorkflows,
    WorkflowRef,
    encode_command,
)
from topics.progress import Coverage, PartitionCoverage, ReplayProgress, ResultsLocation, State, encode_progress

SPEC = ReplaySpec(
    name="incident 7",
    purpose="who else got it?",
    selection=SelectWorkflows(workflows=(WorkflowRef(tenant_id="acme", workflow_id="w-1"),)),
    range=FromEarliest(),
)


def command(replay_id: str, command_id: str, action: str, spec: ReplaySpec | None = None) -> bytes:
    return encode_command(
        ReplayCommand(
            command_id=command_id, replay_id=replay_id, action=action, requester="ann", requested_at=NOON, spec=spec
        )
    )


def progress(replay_id: str, version: int, state: State) -> bytes:
    return encode_progress(
        ReplayProgress(
            replay_id=replay_id,
            version=version,
            state=state,
            read=10,
            matched=3,
            total=12,
            digest="ab" * 32,
            coverage=Coverage(
                complete=True,
                partitions=(
                    PartitionCoverage(topic="tool-events", partition=0, start=0, end=12, position=12, read=10),
                ),
            ),
            results=ResultsLocation(topic="replay-results", partition=1, first_offset=5, end_offset=9),
            started_at=NOON,
            updated_at=NOON + timedelta(seconds=version),
            ended_at=NOON + timedelta(seconds=version) if state.final else None,
        )
    )


def tell(cluster: Cluster, replay_id: str, upto: int) -> None:
    """The first `upto` of: start, running, a second start of another kind, cancel, completed."""
    log, key = Log(cluster.world), replay_id.encode()
    other = SPEC.model_copy(update={"name": "another"})
    for topic, value in (
        (REPLAY_COMMANDS.name, command(replay_id, "c-1", "start", SPEC)),
        (REPLAY_PROGRESS.name, progress(replay_id, 1, State.RUNNING)),
        (REPLAY_COMMANDS.name, command(replay_id, "c-2", "start", other)),
        (REPLAY_COMMANDS.name, command(replay_id, "c-3", "cancel")),
        (REPLAY_PROGRESS.name, progress(replay_id, 2, State.COMPLETED)),
    )[:upto]:
        log.append(topic, key, value)
