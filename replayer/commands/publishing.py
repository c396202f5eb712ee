"""Publishing many records from a command: the broker is asked first, batches are acknowledged, the rate is kept."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from replayer.commands import output
from replayer.core.artefacts import Artefact
from replayer.core.outcome import Send
from replayer.kafka.errors import BrokerUnreachable
from replayer.settings import Settings
from replayer.storage.artefacts import ArtefactStore
from topics.classification import Classification

if TYPE_CHECKING:
    from replayer.kafka.publisher import Publisher

_BATCH = 500
_TICK_S = 0.05
_LOOK_S = 0.5

#: A broker that says nothing for so long while records wait for its word is given up: the client itself never would.
SILENCE_S = 60.0
#: What a batch that is under way at Ctrl-C is still given to be acknowledged.
GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class Parcel:
    """A record, and the artefacts to be stored before it is sent, so that no reference ever points at nothing."""

    record: Send
    artefacts: tuple[Artefact, ...] = ()


@dataclass(slots=True)
class Report:
    """What was done: records that were acknowledged. `interrupted`: by Ctrl-C."""

    records: int = 0
    by_topic: dict[str, int] = field(default_factory=dict)
    artefacts: int = 0
    seconds: float = 0.0
    interrupted: bool = False


def publish(
    parcels: Iterable[Parcel],
    settings: Settings,
    *,
    store: ArtefactStore | None,
    rate: float | None = None,
    advance: Callable[[int], object] = lambda count: None,
) -> Report:
    """Publish in order, at most `rate` records a second, and return when the brokers have acknowledged every record.

    `advance` hears the number of records after each batch. Raises BrokerUnreachable (within seconds, or after SILENCE_S
    where the broker goes away meanwhile), AccessRefused, PublishError, StorageError; what was published before stays.
    Ctrl-C ends it after the batch under way, or after GRACE_S.
    """
    return asyncio.run(_publish(iter(parcels), settings, store, rate, advance))


async def _publish(
    parcels: Iterator[Parcel],
    settings: Settings,
    store: ArtefactStore | None,
    rate: float | None,
    advance: Callable[[int], object],
) -> Report:
    from replayer.kafka.connection import check_broker, client_arguments
    from replayer.kafka.publisher import Publisher

    report, stored = Report(), set[str]()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stopped.set)
    size = _BATCH if rate is None else max(1, min(_BATCH, int(rate * _TICK_S)))
    await check_broker(settings)
    began = time.monotonic()
    async with Publisher(
        settings.brokers, client_arguments(settings), max_record_bytes=settings.max_record_bytes
    ) as publisher:
        while batch := list(islice(parcels, size)):
            if store is not None:
                _store(batch, store, stored)
            if not await _acknowledged(publisher, [parcel.record for parcel in batch], stopped, settings):
                left = report.records + len(batch) - publisher.acknowledged
                output.complain(f"the last {left} records were not acknowledged: they may be in the log, or not")
                report.interrupted = True
                break
            _count(report, batch)
            advance(len(batch))
            ahead_s = 0.0 if rate is None else report.records / rate - (time.monotonic() - began)
            if await _waited(stopped, ahead_s):
                report.interrupted = True
                break
    report.artefacts = len(stored)
    report.seconds = time.monotonic() - began
    return report


async def _acknowledged(publisher: Publisher, records: list[Send], stopped: asyncio.Event, settings: Settings) -> bool:
    """Publish them; False where Ctrl-C came and the broker had not answered for all of them within the grace."""
    publishing = asyncio.ensure_future(publisher.publish_all(records))
    stopping = asyncio.ensure_future(stopped.wait())
    answered, since = -1, time.monotonic()
    try:
        while not publishing.done() and not stopping.done():
            await asyncio.wait([publishing, stopping], timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            if publisher.answered != answered:
                answered, since = publisher.answered, time.monotonic()
            elif time.monotonic() - since > SILENCE_S and not publishing.done():
                raise _silent(publisher, records, settings)
        await asyncio.wait([publishing], timeout=GRACE_S)
        if publishing.done():
            publishing.result()
        return publishing.done()
    finally:
        publishing.cancel()
        stopping.cancel()
        await asyncio.gather(publishing, stopping, return_exceptions=True)


def _silent(publisher: Publisher, records: list[Send], settings: Settings) -> BrokerUnreachable:
    return BrokerUnreachable(
        f"The Kafka broker at {','.join(settings.brokers)} has not answered for {SILENCE_S:.0f} s and is given up. "
        f"{publisher.acknowledged} records were acknowledged; of up to {len(records)} more it is not known."
    )


def _store(batch: list[Parcel], store: ArtefactStore, stored: set[str]) -> None:
    for parcel in batch:
        for artefact in parcel.artefacts:
            if artefact.ref.sha256 not in stored:
                store.put(artefact.content, artefact.ref.media_type, Classification(artefact.ref.classification))
                stored.add(artefact.ref.sha256)


def _count(report: Report, batch: list[Parcel]) -> None:
    report.records += len(batch)
    for parcel in batch:
        report.by_topic[parcel.record.topic] = report.by_topic.get(parcel.record.topic, 0) + 1


async def _waited(stopped: asyncio.Event, seconds: float) -> bool:
    """Whether Ctrl-C came, at the latest after so many seconds."""
    if seconds > 0 and not stopped.is_set():
        try:
            await asyncio.wait_for(stopped.wait(), seconds)
        except TimeoutError:
            return False
    return stopped.is_set()
