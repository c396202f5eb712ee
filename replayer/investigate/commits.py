"""What a group has committed, with metadata, and never while a transaction on it is undecided.

aiokafka asks with version 3 of OffsetFetch, which knows no `require_stable`: right after a takeover it could be
answered with the offsets before the predecessor's last transaction. Version 7 (Kafka 2.5) waits for the decision.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

_COORDINATOR_LOADING: Final = 14
_COORDINATOR_AWAY: Final = (15, 16)
_UNSTABLE: Final = 88


class _OffsetFetchResponse(Response):  # type: ignore[misc] # aiokafka is untyped here
    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class _OffsetFetchStruct(RequestStruct):  # type: ignore[misc] # aiokafka is untyped here
    API_KEY = 9
    API_VERSION = 7
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _OffsetFetchResponse
    SCHEMA = Schema(
        ("group", CompactString("utf-8")),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)
            ),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class _OffsetFetch(Request[_OffsetFetchStruct]):  # type: ignore[misc] # aiokafka is untyped here
    API_KEY = 9

    def __init__(self, group: str, partition: tuple[str, int] | None) -> None:
        self._group = group
        self._topics: list[Any] | None = None  # all there are
        if partition is not None:
            self._topics = [(partition[0], [partition[1]], {})]

    def build(self, request_struct_class: type[_OffsetFetchStruct]) -> _OffsetFetchStruct:
        return request_struct_class(self._group, self._topics, True, {})


async def committed(
    client: AIOKafkaClient, group: str, always: tuple[str, int]
) -> dict[tuple[str, int], tuple[int, str]]:
    """(topic, partition) -> (offset, metadata) of all a group has committed; empty for a group that is not there.

    `always`: a partition that every transaction of the group commits. It is asked for first, by name: of a partition
    without any commit yet, a broker tells an undecided one only then.
    Waits while a transaction on the group is being decided or its coordinator moves; bound it with a time-out.
    Raises KafkaError.
    """
    await _stable(client, group, always)
    return await _stable(client, group, None)


async def _stable(
    client: AIOKafkaClient, group: str, partition: tuple[str, int] | None
) -> dict[tuple[str, int], tuple[int, str]]:
    while True:
        node = await _coordinator(client, group)
        if node is not None:
            request = _OffsetFetch(group, partition)
            response = await client.send(node, request, group=ConnectionGroup.COORDINATION)
            codes = {response.error_code, *(part[4] for _, parts, _ in response.topics for part in parts)} - {0}
            if not codes:
                return {
                    (topic, partition): (offset, metadata or "")
                    for topic, parts, _ in response.topics
                    for partition, offset, _, metadata, *_ in parts
                    if offset >= 0
                }
            for code in codes - {_UNSTABLE, _COORDINATOR_LOADING, *_COORDINATOR_AWAY}:
                raise for_code(code)(f"The offsets of group {group} cannot be read.")
        await asyncio.sleep(0.05)


async def _coordinator(client: Any, group: str) -> int | None:
    try:
        node: int = await client.coordinator_lookup(CoordinationType.GROUP, group)
    except KafkaError as error:
        if not error.retriable:
            raise
        return None
    return node if await client.ready(node, group=ConnectionGroup.COORDINATION) else None
