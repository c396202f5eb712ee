"""Events of a service to their topics, without ever keeping its requests waiting."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, Final, Literal, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NodeNotReadyError,
    RequestTimedOutError,
)

from replayer import clients
from topics.bounds import DEFAULT
from topics.events import encode, topic_of
from topics.fields import Model
from topics.registry import BY_DATA

log = logging.getLogger("replayer.client")

Reason = Literal["full", "too_large", "refused", "undelivered"]

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")
_AT_A_TIME: Final = 500
_BATCH_BYTES: Final = 256 << 10
_FRAMING_BYTES: Final = 128 << 10
_PATIENCE_MS: Final = 120_000
_NOBODY_ANSWERED: Final = (KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError, RequestTimedOutError)
_BACKOFF_S: Final = (0.1, 5.0)
_TELL_EVERY_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Dropped:
    """An event that will not arrive, and why: the queue was `full`, it was `too_large`, the broker `refused` it, or it
    was `undelivered` after two minutes or when the emitter closed. What it said is not repeated.
    """

    reason: Reason
    event_type: str
    event_id: str
    workflow_id: str


@dataclass(frozen=True, slots=True)
class _Record:
    event_type: str
    event_id: str
    workflow_id: str
    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]

    def dropped(self, reason: Reason) -> Dropped:
        return Dropped(reason, self.event_type, self.event_id, self.workflow_id)


class Emitter:
    """Sends events in the background, in batches, keyed and stamped as the topics ask for. For `with`.

    `emit` only puts an event into a bounded queue, from any thread or event loop: it never waits for a broker, and if
    the queue is full the event is dropped and counted (`dropped`), and told to `on_drop`. What is in the queue when the
    process dies is lost: where every event must arrive, write it to an outbox of your own first.

    Args:
        brokers: host:port of the brokers to start from.
        source: which service this is.
        tenant_id, agent_id: whose events these are, where `emit` says nothing else.
        client: security arguments of aiokafka.
        capacity: events waiting at most.
        linger_ms: how long the background waits for more of the same partition.
        on_drop: called with each event that is dropped, from whichever thread noticed; it must not block or raise.
    """

    def __init__(
        self,
        brokers: Sequence[str],
        *,
        source: str,
        tenant_id: str | None = None,
        agent_id: str | None = None,
        client: Mapping[str, Any] | None = None,
        capacity: int = 10_000,
        linger_ms: int = 20,
        max_record_bytes: int = DEFAULT.max_record_bytes,
        on_drop: Callable[[Dropped], None] = lambda _: None,
    ) -> None:
        self._stated = {"source": source, "tenant_id": tenant_id, "agent_id": agent_id}
        self._arguments: dict[str, Any] = {
            "bootstrap_servers": list(brokers),
            "client_id": f"replayer-emitter-{source}"[:200],
            "enable_idempotence": True,
            "linger_ms": linger_ms,
            "request_timeout_ms": _PATIENCE_MS,
            "max_batch_size": _BATCH_BYTES,
            "max_request_size": max_record_bytes + _FRAMING_BYTES,
            **(client or {}),
        }
        self._capacity, self._max_record_bytes, self._on_drop = capacity, max_record_bytes, on_drop
        self._waiting: deque[_Record] = deque()
        self._sent: set[asyncio.Future[Any]] = set()
        self._lock = threading.Lock()
        self._dropped: Counter[Reason] = Counter()
        self._told, self._told_at = 0, 0.0
        self._delivered = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Event | None = None
        self._closing_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="replayer-emitter", daemon=True)

    # -- life

    def start(self) -> None:
        """Begin to send. Does not wait for a broker: it is tried until there is one."""
        self._thread.start()

    def close(self, timeout_s: float = 10.0) -> int:
        """Send what is waiting, for so long at most; answers with how many events were left undelivered."""
        self._closing_at = time.monotonic() + timeout_s
        self._wake()
        self._thread.join(timeout_s + 5.0)
        self._tell(at_once=True)
        return self._dropped["undelivered"]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- counts

    @property
    def delivered(self) -> int:
        """Events the broker has accepted."""
        return self._delivered

    @property
    def waiting(self) -> int:
        """Events that nobody has accepted or refused yet."""
        return len(self._waiting) + len(self._sent)

    @property
    def dropped(self) -> Mapping[Reason, int]:
        """Events that will not arrive, by reason."""
        return dict(self._dropped)

    # -- events

    def emit(
        self,
        data: Model,
        *,
        workflow_id: str,
        event_id: str | None = None,
        occurred_at: datetime | None = None,
        traceparent: str | None = None,
        **envelope: Any,
    ) -> str:
        """Queue one event; answers with its id, whether or not it was dropped. Never waits.

        `event_id`: made here (UUIDv7) unless given; give it where the same event may be emitted twice. `occurred_at`:
        now, unless given. `traceparent` (W3C) becomes the event's trace context and the record's header. `envelope`:
        tenant_id, agent_id, decision_id, parent_event_id, correlation_id, subject_id and the other fields of the
        envelope.

        Raises pydantic.ValidationError where a field breaks its rule, KeyError where `data` is no event's, ValueError
        for a traceparent that is none: bugs of the caller, told where they are.
        """
        event_type = BY_DATA[type(data)].name
        stated = {name: value for name, value in self._stated.items() if value is not None}
        event_id = event_id or _uuid7()
        headers: tuple[tuple[str, bytes], ...] = ()
        if traceparent is not None:
            stated |= dict(zip(("trace_id", "span_id"), _trace(traceparent), strict=True))
            headers = (("traceparent", traceparent.encode()),)
        value = encode(
            data,
            **stated
            | envelope
            | {"event_id": event_id, "workflow_id": workflow_id, "occurred_at": occurred_at or datetime.now(UTC)},
        )
        topic, key = topic_of(event_type), workflow_id.encode()
        record = _Record(event_type, event_id, workflow_id, topic, key, value, headers)
        if len(value) > self._max_record_bytes:
            self._drop(record, "too_large")
        elif self._closing_at is not None:
            self._drop(record, "undelivered")
        elif len(self._waiting) >= self._capacity:
            self._drop(record, "full")
        else:
            self._waiting.append(record)
            self._wake()
        return event_id

    def _wake(self) -> None:
        loop, work = self._loop, self._work
        if loop is not None and work is not None and not work.is_set():
            with contextlib.suppress(RuntimeError):  # closed meanwhile
                loop.call_soon_threadsafe(work.set)

    def _drop(self, record: _Record, reason: Reason) -> None:
        with self._lock:
            self._dropped[reason] += 1
        self._on_drop(record.dropped(reason))
        self._tell()

    def _tell(self, *, at_once: bool = False) -> None:
        """Say in the log what was dropped, at most every ten seconds."""
        with self._lock:
            total, now = sum(self._dropped.values()), time.monotonic()
            if total == self._told or (not at_once and now < self._told_at + _TELL_EVERY_S):
                return
            more, self._told, self._told_at = total - self._told, total, now
            counts = ", ".join(f"{reason} {count}" for reason, count in sorted(self._dropped.items()))
        log.warning("%d events were dropped (in all: %s)", more, counts)

    # -- the background

    def _run(self) -> None:
        asyncio.run(self._send_all())

    async def _send_all(self) -> None:
        self._loop, self._work = asyncio.get_running_loop(), asyncio.Event()
        producer = await self._connected()
        try:
            while producer is not None and not self._over():
                self._work.clear()
                if not self._waiting:
                    if self._closing_at is not None:
                        break
                    await self._work.wait()
                await self._send_some(producer)
            if producer is not None and self._sent:
                await asyncio.wait(self._sent, timeout=self._left())
        finally:
            if producer is not None:
                await clients.stop(producer, max(0.1, min(2.0, self._left())))
            for record in list(self._waiting):
                self._drop(record, "undelivered")
            self._waiting.clear()

    async def _connected(self) -> AIOKafkaProducer | None:
        """A producer that has found a broker; None where the emitter was closed before there was one."""
        backoff = _BACKOFF_S[0]
        while not self._over():
            producer = AIOKafkaProducer(**self._arguments)
            try:
                async with asyncio.timeout(self._left()):
                    await clients.start(producer, partial(clients.stop, producer, 1.0))
            except (KafkaError, OSError, TimeoutError) as exc:
                log.warning("no broker answers (%s); %d events are waiting", type(exc).__name__, len(self._waiting))
                await asyncio.sleep(min(backoff, max(0.0, self._left())))
                backoff = min(backoff * 2, _BACKOFF_S[1])
            else:
                return producer
        return None

    async def _send_some(self, producer: AIOKafkaProducer) -> None:
        for _ in range(min(_AT_A_TIME, len(self._waiting))):
            record = self._waiting.popleft()
            try:
                sent = await producer.send(record.topic, record.value, record.key, headers=list(record.headers))
            except KafkaError:  # its text may hold what was sent
                self._drop(record, "refused")
                continue
            self._sent.add(sent)
            sent.add_done_callback(partial(self._settled, record))

    def _settled(self, record: _Record, sent: asyncio.Future[Any]) -> None:
        self._sent.discard(sent)
        if sent.cancelled():
            self._drop(record, "undelivered")
        elif sent.exception() is not None:
            self._drop(record, "undelivered" if isinstance(sent.exception(), _NOBODY_ANSWERED) else "refused")
        else:
            self._delivered += 1

    def _over(self) -> bool:
        return self._closing_at is not None and time.monotonic() >= self._closing_at

    def _left(self) -> float:
        """Seconds until it has to be over; a minute where nobody has said so."""
        return 60.0 if self._closing_at is None else max(0.0, self._closing_at - time.monotonic())


def _trace(traceparent: str) -> tuple[str, str]:
    """Trace and span id of a W3C traceparent."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        raise ValueError("traceparent is not version-traceid-spanid-flags as W3C Trace Context has it")
    return found[1], found[2]


def _uuid7() -> str:
    """A UUID that begins with the time in ms (RFC 9562), so that ids sort as they were made."""
    random = secrets.randbits(74)
    value = time.time_ns() // 1_000_000 << 80 | 0x7 << 76 | (random >> 62) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    return str(uuid.UUID(int=value))
