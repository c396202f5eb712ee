"""Records that Kafka takes and no ordinary client sends: without key and value, with header names that are no text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

Odd = tuple[bytes | None, bytes | None, Sequence[tuple[bytes, bytes | None]]]  # key, value, headers


class _Name(str):
    """A header's name that is these bytes on the wire."""

    raw: bytes

    @classmethod
    def of(cls, raw: bytes) -> Self:
        name = cls(raw.decode("latin-1"))
        name.raw = raw
        return name

    def encode(self, *_: object, **__: object) -> bytes:
        return self.raw


def batch(records: Sequence[Odd], compression: int = 0, first: int = 0) -> bytes:
    """One record batch (magic 2), its base offset 0."""
    builder = _builder(compression)
    for number, (key, value, headers) in enumerate(records, first):
        builder.append(number, 0, key, value, [(_Name.of(name), content) for name, content in headers])
    return bytes(builder.build())


def _builder(compression: int) -> Any:
    return _DefaultRecordBatchBuilderPy(
        magic=2,
        compression_type=compression,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 20,
    )


async def send(producer: AIOKafkaProducer, topic: str, partition: int, record: Odd) -> int:
    """Append one record; answers with its offset."""
    key, value, headers = record
    built = producer.create_batch()
    built._builder = _builder(0)
    built.append(key=key, value=value, timestamp=None, headers=[(_Name.of(name), at) for name, at in headers])
    built.close()
    done = await (await producer.send_batch(built, topic, partition=partition))
    return int(done.offset)
