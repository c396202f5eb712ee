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
_CONNECT_S: Final = 60.0
_STOP_S: Final = 2.0
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


@dataclass(frozen=True, slots=True, eq=False)
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
        self._waiting: deque[_Record] = deque()  # not handed to the producer yet
        self._open: set[_Record] = set()  # these, and those of which nobody knows yet what became of them
        self._lock = threading.Lock()  # over all counts, and what may still be taken
        self._dropped: Counter[Reason] = Counter()
        self._told, self._told_at = 0, 0.0
        self._delivered = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Event | None = None
        self._main: asyncio.Task[None] | None = None
        self._closing, self._over_at = False, 0.0
        self._thread = threading.Thread(target=self._run, name="replayer-emitter", daemon=True)

    # -- life

    def start(self) -> None:
        """Begin to send. Does not wait for a broker: it is tried until there is one."""
        self._thread.start()

    def close(self, timeout_s: float = 10.0) -> int:
        """Send what is waiting, for so long at most; answers with how many events were left undelivered.

        Each event that was emitted is counted then, as delivered or as dropped.
        """
        with self._lock:
            self._closing, self._over_at = True, time.monotonic() + timeout_s
        self._call(self._hurry)
        if self._thread.ident is not None:
            self._thread.join(timeout_s + _STOP_S + 1.0)
        self._give_up()
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
        return len(self._open)

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
        tenant_id: str | None = None,
        agent_id: str | None = None,
        decision_id: str | None = None,
        parent_event_id: str | None = None,
        correlation_id: str | None = None,
        original_event_id: str | None = None,
        subject_id: str | None = None,
        key_id: str | None = None,
    ) -> str:
        """Queue one event; answers with its id, whether or not it was dropped. Never waits.

        `event_id`: made here (UUIDv7) unless given; give it where the same event may be emitted twice. `occurred_at`:
        now, unless given. `traceparent` (W3C) becomes the event's trace context and the record's header. The rest as
        the envelope has them (topics.envelope); `tenant_id` and `agent_id` where they are not the emitter's.

        Raises pydantic.ValidationError where a field breaks its rule, KeyError where `data` is no event's, ValueError
        for a traceparent that is none: bugs of the caller, told where they are.
        """
        event_type, event_id = BY_DATA[type(data)].name, event_id or _uuid7()
        stated = {
            **self._stated,
            "tenant_id": tenant_id or self._stated["tenant_id"],
            "agent_id": agent_id or self._stated["agent_id"],
            "event_id": event_id,
            "workflow_id": workflow_id,
            "occurred_at": occurred_at or datetime.now(UTC),
            "decision_id": decision_id,
            "parent_event_id": parent_event_id,
            "correlation_id": correlation_id,
            "original_event_id": original_event_id,
            "subject_id": subject_id,
            "key_id": key_id,
        }
        headers: tuple[tuple[str, bytes], ...] = ()
        if traceparent is not None:
            stated |= dict(zip(("trace_id", "span_id"), _trace(traceparent), strict=True))
            headers = (("traceparent", traceparent.encode()),)
        value = encode(data, **{name: said for name, said in stated.items() if said is not None})
        record = _Record(event_type, event_id, workflow_id, topic_of(event_type), workflow_id.encode(), value, headers)
        self._take(record)
        return event_id

    def _take(self, record: _Record) -> None:
        with self._lock:
            reason = self._refusal(record)
            if reason is None:
                self._open.add(record)
                self._waiting.append(record)
        if reason is None:
            self._wake()
        else:
            self._drop(record, reason)

    def _refusal(self, record: _Record) -> Reason | None:
        if len(record.value) > self._max_record_bytes:
            return "too_large"
        if self._closing:
            return "undelivered"
        return "full" if len(self._waiting) >= self._capacity else None

    def _wake(self) -> None:
        work = self._work
        if work is not None and not work.is_set():
            self._call(work.set)

    def _call(self, what: Callable[[], None]) -> None:
        """In the background's loop, if it runs."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # closed meanwhile
                loop.call_soon_threadsafe(what)

    def _settle(self, record: _Record, reason: Reason | None) -> None:
        """What became of a record that was taken, said once: `reason` None: the broker has it."""
        with self._lock:
            if record not in self._open:
                return  # given up already
            self._open.discard(record)
            self._delivered += reason is None
        if reason is not None:
            self._drop(record, reason)

    def _give_up(self) -> None:
        with self._lock:
            left = list(self._open)
        for record in left:
            self._settle(record, "undelivered")

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
        try:
            asyncio.run(self._send_all())
        finally:  # whatever ended it: nothing that comes now would be sent
            with self._lock:
                self._closing = True
            self._give_up()

    async def _send_all(self) -> None:
        self._main, self._work = asyncio.current_task(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if self._closing:
            self._hurry()  # closed before it could be told so
        producer: AIOKafkaProducer | None = None
        sent: set[asyncio.Future[Any]] = set()
        try:
            producer = await self._connected()
            while self._waiting or not self._closing:
                self._work.clear()
                if not self._waiting and not self._closing:
                    await self._work.wait()
                await self._send_some(producer, sent)
            if sent:
                await asyncio.wait(sent)
        except asyncio.CancelledError:
            pass  # there is no more time
        finally:
            self._main = None
            if producer is not None:
                await clients.stop(producer, _STOP_S)

    def _hurry(self) -> None:
        """Send what is there, and be over in time, whatever it waits for then."""
        left = max(0.0, self._over_at - time.monotonic())
        asyncio.get_running_loop().call_later(left, self._cut_off)
        if self._work is not None:
            self._work.set()

    def _cut_off(self) -> None:
        if self._main is not None:
            self._main.cancel()

    async def _connected(self) -> AIOKafkaProducer:
        """A producer that has found a broker."""
        backoff = _BACKOFF_S[0]
        while True:
            producer = AIOKafkaProducer(**self._arguments)
            try:
                async with asyncio.timeout(_CONNECT_S):
                    await clients.start(producer, partial(clients.stop, producer, 1.0))
            except (KafkaError, OSError, TimeoutError) as exc:
                log.warning("no broker answers (%s); %d events are waiting", type(exc).__name__, len(self._waiting))
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _BACKOFF_S[1])
            else:
                return producer

    async def _send_some(self, producer: AIOKafkaProducer, sent: set[asyncio.Future[Any]]) -> None:
        for _ in range(min(_AT_A_TIME, len(self._waiting))):
            record = self._waiting.popleft()
            try:  # waits where the producer is full
                one = await producer.send(record.topic, record.value, record.key, headers=list(record.headers))
            except KafkaError as exc:
                self._settle(record, _why(exc))
                continue
            sent.add(one)
            one.add_done_callback(partial(self._settled, record, sent))

    def _settled(self, record: _Record, sent: set[asyncio.Future[Any]], one: asyncio.Future[Any]) -> None:
        sent.discard(one)
        if one.cancelled():
            self._settle(record, "undelivered")
        else:
            error = one.exception()
            self._settle(record, None if error is None else _why(error))


def _why(error: BaseException) -> Reason:
    """Its text may hold what was sent: it is not told."""
    return "undelivered" if isinstance(error, _NOBODY_ANSWERED) else "refused"


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
