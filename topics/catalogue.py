"""The one table of topics: what each is called, keyed by, how long it keeps and how sensitive it is.

Topic creation, manifests and docs are generated from it or checked against it. Partition counts are the deployment's:
all `CO_PARTITIONED` topics and the changelogs of the tables they feed must have the same number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from topics.classification import Classification

DAY_MS = 24 * 60 * 60 * 1000
FOREVER = -1
DEFAULT_PARTITIONS = 4
DEFAULT_MAX_RECORD_BYTES = 1024 * 1024
FRAMING_BYTES = 64 * 1024  # a record's key, headers and batch framing, beside its value
CONTEXT_BYTES = 64 * 1024  # what a dead letter, a result or a changelog row may add to the record it stands for


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. Times in milliseconds (`retention_ms` -1: for ever), sizes in bytes.

    `delete_retention_ms`: how long a compacted topic keeps its tombstones; None where it is not compacted.
    """

    name: str
    key: str
    value_type: str
    classification: Classification
    partitions: int = DEFAULT_PARTITIONS
    cleanup_policy: Literal["delete", "compact"] = "delete"
    retention_ms: int = 30 * DAY_MS
    delete_retention_ms: int | None = None
    max_message_bytes: int = DEFAULT_MAX_RECORD_BYTES + FRAMING_BYTES

    def config(self) -> dict[str, str]:
        """The topic's settings in Kafka's own names."""
        settings = {
            "cleanup.policy": self.cleanup_policy,
            # No producer's clock decides anything. Changelogs too: a broker may refuse what a fast clock dates ahead.
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(self.max_message_bytes),
        }
        if self.cleanup_policy == "delete":
            settings["retention.ms"] = str(self.retention_ms)
        if self.delete_retention_ms is not None:
            settings["delete.retention.ms"] = str(self.delete_retention_ms)
        return settings


_RESTRICTED, _CONFIDENTIAL, _INTERNAL = Classification.RESTRICTED, Classification.CONFIDENTIAL, Classification.INTERNAL

WORKFLOW_EVENTS = Topic("workflow-events", "workflow_id", "event", _RESTRICTED)
MODEL_INVOCATIONS = Topic("model-invocations", "workflow_id", "event", _CONFIDENTIAL)
TOOL_EVENTS = Topic("tool-events", "workflow_id", "event", _RESTRICTED)
POLICY_EVENTS = Topic("policy-events", "workflow_id", "event", _CONFIDENTIAL)
FEEDBACK_EVENTS = Topic("feedback-events", "workflow_id", "event", _CONFIDENTIAL)
STAGE_EVENTS = Topic("stage-events", "workflow_id", "event", _CONFIDENTIAL)

SOURCES: tuple[Topic, ...] = (
    WORKFLOW_EVENTS,
    MODEL_INVOCATIONS,
    TOOL_EVENTS,
    POLICY_EVENTS,
    FEEDBACK_EVENTS,
    STAGE_EVENTS,
)
"""What the timelines are made of: co-partitioned by workflow_id."""

# Whatever a source carried, the dead letter carries too: the strictest class, and room for the context beside it.
DEAD_LETTERS = Topic(
    "dead-letters",
    "the original record's key",
    "original bytes, context in headers",
    _RESTRICTED,
    retention_ms=90 * DAY_MS,
    max_message_bytes=DEFAULT_MAX_RECORD_BYTES + FRAMING_BYTES + CONTEXT_BYTES,
)

# Whoever reads it has folded it within seconds; a week is for a worker that was away.
TEMPLATE_USAGE = Topic("template-usage", "shelf of the index", "usage", _INTERNAL, retention_ms=7 * DAY_MS)

# Of deployments that declare foreign topics only. Made of records that stay where they are; folded within seconds.
REKEYED_EVENTS = Topic(
    "rekeyed-events", "workflow_id", "event, where it came from in a header", _RESTRICTED, retention_ms=7 * DAY_MS
)

REPLAY_COMMANDS = Topic("replay-commands", "replay_id", "command", _INTERNAL, retention_ms=90 * DAY_MS)
REPLAY_PROGRESS = Topic("replay-progress", "replay_id", "progress", _INTERNAL, retention_ms=90 * DAY_MS)
REPLAY_RESULTS = Topic(
    "replay-results",
    "replay_id",
    "result",
    _INTERNAL,
    retention_ms=14 * DAY_MS,
    max_message_bytes=DEFAULT_MAX_RECORD_BYTES + FRAMING_BYTES + CONTEXT_BYTES,
)
REPLAYS: tuple[Topic, ...] = (REPLAY_COMMANDS, REPLAY_PROGRESS, REPLAY_RESULTS)

#: Names that Kafka takes, with room for those of a changelog around them.
TOPIC_NAME = r"^[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,99}$"

CO_PARTITIONED: tuple[Topic, ...] = (*SOURCES, TEMPLATE_USAGE, *REPLAYS)
TOPICS: tuple[Topic, ...] = (*SOURCES, DEAD_LETTERS, TEMPLATE_USAGE, *REPLAYS)
"""All topics the product owns, changelogs apart: those depend on the application's id (`changelog`)."""

CHANGELOG_DELETE_RETENTION_MS = DAY_MS
"""Local state older than this is rebuilt: a tombstone it missed may be gone from the changelog."""


def changelog(app_id: str, table: str, partitions: int = DEFAULT_PARTITIONS) -> Topic:
    """The changelog of a table: purely compacted, keyed by the row's key, rows hold projections only."""
    return Topic(
        f"{app_id}-{table}-changelog",
        "row key",
        "row",
        _INTERNAL,
        partitions=partitions,
        cleanup_policy="compact",
        retention_ms=FOREVER,
        delete_retention_ms=CHANGELOG_DELETE_RETENTION_MS,
        max_message_bytes=DEFAULT_MAX_RECORD_BYTES + FRAMING_BYTES + CONTEXT_BYTES,
    )


def with_partitions(topics: tuple[Topic, ...], partitions: int) -> tuple[Topic, ...]:
    """The same topics with another partition count."""
    return tuple(replace(topic, partitions=partitions) for topic in topics)
