"""What becomes of a record that cannot be folded: its original bytes, with the context in headers."""

from __future__ import annotations

import hashlib

from replayer.core.outcome import Record, Send
from topics import deadletter
from topics.catalogue import DEAD_LETTERS

MAX_HEADER_BYTES = 32 * 1024  # of the original's own headers: with the context they stay below CONTEXT_BYTES
MAX_KEY_BYTES = 16 * 1024


def dead_letter(record: Record, reason: str, error_class: str, detail: str, max_bytes: int, now_ms: int) -> Send:
    """The dead letter of a record: the same id for the same source position, however often it is folded.

    The original value (null stays null), key and headers are kept. What is too large to carry stays in its topic, with
    a pointer to it: a value above `max_bytes`, a key above 16 KiB, headers above 32 KiB. `detail` must not quote the
    record.
    """
    value, key = record.value, record.key
    kept, size = [], 0
    for name, content in record.headers:
        size += len(name) + len(content or b"")
        kept.append((deadletter.ORIGINAL_PREFIX + name if _taken(name) else name, content))
    too_large = value is not None and len(value) > max_bytes
    key_too_large = key is not None and len(key) > MAX_KEY_BYTES
    dropped = len(kept) if size > MAX_HEADER_BYTES else 0

    context = {
        deadletter.ID: _identity(record),
        deadletter.REASON: reason,
        deadletter.ERROR_CLASS: error_class,
        deadletter.DETAIL: detail,
        deadletter.TOPIC: record.topic,
        deadletter.PARTITION: str(record.partition),
        deadletter.OFFSET: str(record.offset),
        deadletter.TIMESTAMP: str(record.timestamp),
        deadletter.FAILED_AT: str(now_ms),
        deadletter.SIZE: str(len(value or b"")),
    }
    if too_large or key_too_large or dropped:
        context[deadletter.POINTER] = f"{record.topic}/{record.partition}/{record.offset}"
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


def _identity(record: Record) -> str:
    position = f"{record.topic}\x00{record.partition}\x00{record.offset}\x00{record.timestamp}"
    return hashlib.sha256(position.encode()).hexdigest()[:32]
