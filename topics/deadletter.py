"""What a dead letter says: the original bytes are its value, everything else is in its headers.

The original record's own headers travel too. One whose name begins with `PREFIX` (or `ORIGINAL_PREFIX`, so that taking
it off again is unambiguous) gets `ORIGINAL_PREFIX` before it: nothing a producer wrote passes for the context.
All values are UTF-8 text.
"""

from __future__ import annotations

UNDECODABLE = "undecodable"  # not JSON in UTF-8 within the bounds
INVALID = "invalid"  # JSON, but not an event
UNMAPPED = "unmapped"  # of a foreign topic, and its rules make no event of it
OVERSIZED = "oversized"  # above the record limit: the value stays in its topic, a pointer says where
MISROUTED = "misrouted"  # in a partition its workflow does not belong to
POISON = "poison"  # an event, but folding it raised

REASONS = (UNDECODABLE, INVALID, UNMAPPED, OVERSIZED, MISROUTED, POISON)

PREFIX = "replayer-"
ORIGINAL_PREFIX = "original-"

ID = "replayer-dead-letter-id"  # deterministic: the same source position always gives the same id
REASON = "replayer-reason"
ERROR_CLASS = "replayer-error-class"
DETAIL = "replayer-detail"  # fields and rules, never values
TOPIC = "replayer-topic"
PARTITION = "replayer-partition"
OFFSET = "replayer-offset"
TIMESTAMP = "replayer-timestamp-ms"  # of the original record
FAILED_AT = "replayer-failed-at-ms"
POINTER = "replayer-pointer"  # topic/partition/offset, only where the value was too large to carry
SIZE = "replayer-size-bytes"  # of the original value
HEADERS_DROPPED = "replayer-headers-dropped"  # how many original headers did not fit

CONTEXT = (
    ID,
    REASON,
    ERROR_CLASS,
    DETAIL,
    TOPIC,
    PARTITION,
    OFFSET,
    TIMESTAMP,
    FAILED_AT,
    POINTER,
    SIZE,
    HEADERS_DROPPED,
)
