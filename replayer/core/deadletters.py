"""What becomes of a record that cannot be folded: its original bytes, with the context in headers."""

from __future__ import annotations

import hashlib

from replayer.core.origin import Origin, origin_of
from replayer.core.outcome import Record, Send
from topics import deadletter
from topics.catalogue import DEAD_LETTERS

MAX_HEADER_BYTES = 32 * 1024  # of the original's own headers: with the context they stay below CONTEXT_BYTES
MAX_KEY_BYTES = 16 * 1024


def dead_letter(record: Record, reason: str, error_class: str, detail: str, max_bytes: int, now_ms: int) -> Send:
    """The dead letter of a record: the same id for the same source position, however often it is folded.

    That is the position a record came from, where it was keyed anew. The original value (null stays null), key and
    headers are kept. What is too large to carry stays in its topic, with a pointer to it: a value above `max_bytes`, a
    key above 16 KiB, headers above 32 KiB. `detail` must not quote the record.
    """
    value, key = record.value, record.key
    kept, size = [], 0
    for name, content in record.headers:
        size += len(name) + len(content or b"")
        kept.append((deadletter.ORIGINAL_PREFIX + name if _taken(name) else name, content))
    too_large = value is not None and len(value) > max_bytes
    key_too_large = key is not None and len(key) > MAX_KEY_BYTES
    dropped = len(kept) if size > MAX_HEADER_BYTES else 0

    at = origin_of(record)
    context = {
        deadletter.ID: _identity(at),
        deadletter.REASON: reason,
        deadletter.ERROR_CLASS: error_class,
        deadletter.DETAIL: detail,
        deadletter.TOPIC: at.topic,
        deadletter.PARTITION: str(at.partition),
        deadletter.OFFSET: str(at.offset),
        deadletter.TIMESTAMP: str(at.timestamp_ms),
        deadletter.FAILED_AT: str(now_ms),
        deadletter.SIZE: str(len(value or b"")),
    }
    if too_large or key_too_large or dropped:
        context[deadletter.POINTER] = f"{at.topic}/{at.partition}/{at.offset}"
    if dropped:
        context[deadletter.HEADERS_DROPPED] = str(dropped)
    return Send(
        topic=DEAD_LETTERS.name,
        key=None if key_too_large else key,
        value=b"" if too_large else value,
        headers=(*((name, text.encode()) for name, text in context.items()), *(() if dropped else kept)),
    )


def _taken(name: str) -> bool:
    return name.startswith((deadletter.PREFIX, deadletter.ORIGINAL_PREFIX))


def _identity(at: Origin) -> str:
    position = f"{at.topic}\x00{at.partition}\x00{at.offset}\x00{at.timestamp_ms}"
    return hashlib.sha256(position.encode()).hexdigest()[:32]
