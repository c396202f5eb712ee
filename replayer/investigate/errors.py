"""What ends a replay for good, and what only interrupts it.

InvestigationError (a core.errors.ReplayerError)
├── Refused     what was asked for cannot be done; the sentence goes into the replay's `error`
└── Stalled     the log gave nothing for too long; tried again
"""

from __future__ import annotations

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    InvalidTopicError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    OffsetMetadataTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from replayer.core.checkpoint import LostCheckpoint
from replayer.core.errors import ReplayerError
from replayer.core.stretch import TooManyGaps
from replayer.kafka.errors import LogError, TopicError


class InvestigationError(ReplayerError):
    """Something about one replay."""


class Refused(InvestigationError):
    """What was asked for cannot be done; the message is a sentence for whoever asked."""


class Stalled(InvestigationError):
    """Nothing came from the log for too long."""


INTERRUPTIONS = (KafkaError, LogError, Stalled, TimeoutError, OSError)
"""What may be over at the next attempt; `sentence` picks out what will not be."""

_FOR_GOOD: dict[type[KafkaError], str] = {
    TopicAuthorizationFailedError: "The investigator may not read the sources or write the replay topics: grant it.",
    GroupAuthorizationFailedError: "The investigator may not use the groups replayer-inv-*: grant it.",
    TransactionalIdAuthorizationFailed: "The investigator may not use the transactional ids replayer-inv-*: grant it.",
    ClusterAuthorizationFailedError: "The cluster does not allow the investigator what it needs (idempotent write).",
    InvalidTopicError: "The cluster refuses a topic's name.",
    MessageSizeTooLargeError: "A result is larger than the results topic accepts: raise its max.message.bytes.",
    RecordListTooLargeError: "A batch of results is larger than the results topic accepts: raise its segment.bytes.",
    OffsetMetadataTooLargeError: "The brokers' offset.metadata.max.bytes is too small for checkpoints: set 4096.",
    PolicyViolationError: "The cluster's policy refuses what the investigator writes.",
}


def sentence(error: BaseException) -> str | None:
    """Why a replay has failed for good, or None where another attempt may succeed. Never quotes a record."""
    if isinstance(error, Refused | LostCheckpoint | TooManyGaps):
        return str(error)
    if isinstance(error, TopicError):
        return str(error)
    return next((said for kind, said in _FOR_GOOD.items() if isinstance(error, kind)), None)


def passing(error: BaseException) -> bool:
    """Whether it is of the kind that ends by itself, however long it takes: brokers away, elections, time-outs."""
    if isinstance(error, KafkaError):
        return bool(error.retriable) or isinstance(error, KafkaTimeoutError | RequestTimedOutError)
    return True
