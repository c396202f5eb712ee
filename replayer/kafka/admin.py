"""Topics, offsets and groups: what is there, what should be, and the difference as sentences."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    GroupIdNotFound,
    InvalidPartitionsError,
    KafkaError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.admin import DeleteGroupsRequest

from replayer.kafka import conformity
from replayer.kafka.conformity import Foreign
from replayer.kafka.errors import TopicError
from replayer.kafka.metadata import describe
from replayer.kafka.opening import opened
from topics.catalogue import Topic

Isolation = Literal["read_committed", "read_uncommitted"]


class LogAdmin:
    """An admin client and an offset reader over one cluster. Use as `async with`.

    Args:
        brokers: host:port of the brokers to start from.
        client: security arguments, see `connection.client_arguments`.

    Every method raises BrokerUnreachable where no broker answers.
    """

    def __init__(self, brokers: Sequence[str], client: Mapping[str, Any] | None = None) -> None:
        self._brokers, self._client = list(brokers), dict(client or {})
        self._admin: Any = None

    async def __aenter__(self) -> Self:
        self._admin = AIOKafkaAdminClient(bootstrap_servers=self._brokers, client_id="replayer-admin", **self._client)
        await opened(self._admin, self._admin.close, self._brokers)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._admin.close()

    # Topics

    async def create(self, topics: Sequence[Topic], replication_factor: int | None = None) -> list[str]:
        """Make the topics that are missing, with the settings the catalogue gives them; leave the others as they are.

        Answers with the names it made, once every partition of all of `topics` has a leader. Raises TopicError.
        """
        new = [_NewTopic(topic.name, topic.partitions, replication_factor or -1, topic.config()) for topic in topics]
        response = await self._admin.create_topics(new, timeout_ms=30_000)
        made = []
        for name, code, message in response.topic_errors:
            error = for_code(code)
            if code == 0:
                made.append(name)
            elif error is not TopicAlreadyExistsError:
                raise TopicError(f"Topic {name} could not be made: {message or error.message}. {_hint(code)}".strip())
        await self._await_leaders([topic.name for topic in topics])
        return made

    async def check(
        self, topics: Sequence[Topic], together: Collection[str], foreign: Sequence[Foreign] = ()
    ) -> list[str]:
        """What is wrong with the cluster's topics: a sentence for each that says what to do; empty when all is well.

        `together`: names of the topics that must have the same number of partitions. `foreign`: those of others.
        """
        counts = await self.partitions([*(topic.name for topic in topics), *(told.topic for told in foreign)])
        configs = await self._configs([topic.name for topic in topics if topic.name in counts])
        return conformity.problems(topics, counts, configs, frozenset(together), foreign)

    async def partitions(self, names: Sequence[str]) -> dict[str, int]:
        """Number of partitions of each of the topics that exist."""
        described = await describe(self._admin._client, names)
        return {name: topic.partitions for name, topic in described.items()}

    async def grow(self, name: str, partitions: int) -> None:
        """Give a topic so many partitions, unless it has as many or is not there. Raises TopicError."""
        known = (await self.partitions([name])).get(name, partitions)
        if known >= partitions:
            return
        try:
            await self._admin.create_partitions({name: NewPartitions(partitions)})
        except InvalidPartitionsError:
            pass  # somebody else has, just now: who does not see it yet is told by `check`
        except KafkaError as exc:
            raise TopicError(
                f"Topic {name} has {known} partitions, needs {partitions} and could not be given them "
                f"({type(exc).__name__}): kafka-topics.sh --alter --topic {name} --partitions {partitions}"
            ) from exc
        await self._await_leaders([name], partitions)

    async def delete_topics(self, names: Sequence[str]) -> None:
        """Delete topics; one that is not there is no error."""
        response = await self._admin.delete_topics(list(names))
        for name, code, *_ in response.topic_error_codes:
            if code and for_code(code) is not UnknownTopicOrPartitionError:
                raise TopicError(f"Topic {name} could not be deleted: {for_code(code).message}.")

    async def _configs(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        found: dict[str, dict[str, str]] = {}
        for response in await self._admin.describe_configs(asked):
            for code, message, _, name, entries in response.resources:
                if code:
                    raise TopicError(
                        f"The settings of topic {name} cannot be read: {message or for_code(code).message}."
                    )
                found[name] = {entry[0]: entry[1] for entry in entries}
        return found

    async def _await_leaders(self, names: Sequence[str], partitions: int = 1, timeout_s: float = 30.0) -> None:
        """A topic just made, or given `partitions`, is not usable before brokers know of each and of its leader."""
        deadline = time.monotonic() + timeout_s
        while True:
            described = await describe(self._admin._client, names)
            waiting = [
                name
                for name in names
                if name not in described or not described[name].led or described[name].partitions < partitions
            ]
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise TopicError(
                    f"{', '.join(waiting)}: no leader for every partition after {timeout_s:.0f} s: are brokers down?"
                )
            await asyncio.sleep(0.05)

    # Offsets

    async def begin_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """First offset the log still holds, for each partition. Raises TopicError for one that does not exist."""
        async with self._offset_reader(partitions, "read_committed") as reader:
            return dict(await reader.beginning_offsets(list(partitions)))

    async def end_offsets(
        self, partitions: Collection[TopicPartition], isolation: Isolation = "read_committed"
    ) -> dict[TopicPartition, int]:
        """The offset after the last record; read_committed: that of the first open transaction. Raises TopicError."""
        async with self._offset_reader(partitions, isolation) as reader:
            return dict(await reader.end_offsets(list(partitions)))

    async def offsets_for_times(self, times_ms: Mapping[TopicPartition, int]) -> dict[TopicPartition, int | None]:
        """First offset at or after a time (ms since the epoch) by log time; None: no record is that young."""
        async with self._offset_reader(times_ms, "read_committed") as reader:
            found = await reader.offsets_for_times(dict(times_ms))
        return {partition: entry.offset if entry else None for partition, entry in found.items()}

    def _offset_reader(self, partitions: Collection[TopicPartition], isolation: Isolation) -> _OffsetReader:
        return _OffsetReader(self, partitions, self._brokers, self._client, isolation)

    # Groups

    async def groups(self) -> dict[str, str]:
        """Every consumer group with its protocol type ("" for one that only stores offsets)."""
        return dict(await self._admin.list_consumer_groups())

    async def committed(self, group: str) -> dict[TopicPartition, int]:
        """Committed offsets of a group, of every partition it has one for; empty for a group that is not there."""
        stored = await self._admin.list_consumer_group_offsets(group)
        return {partition: entry.offset for partition, entry in stored.items() if entry.offset >= 0}

    async def delete_groups(self, groups: Sequence[str]) -> list[str]:
        """Delete groups with their offsets; answers with those deleted, one that is not there is no error.

        Raises the KafkaError of a group that cannot be deleted (NonEmptyGroup: it has live members).
        """
        # aiokafka's admin client lacks this call; the request itself it has.
        deleted = []
        for group in groups:
            coordinator = await self._admin.find_coordinator(group)
            response = await self._admin._send_request_to_node(coordinator, DeleteGroupsRequest([group]))
            for name, code in response.results:
                if code == 0:
                    deleted.append(name)
                elif for_code(code) is not GroupIdNotFound:
                    raise for_code(code)(f"Consumer group {name} could not be deleted.")
        return deleted


@dataclass(frozen=True, slots=True)
class _NewTopic:
    """aiokafka's NewTopic, which refuses -1: the cluster's own replication factor for a given number of partitions."""

    name: str
    num_partitions: int
    replication_factor: int
    topic_configs: Mapping[str, str]
    replica_assignments: Mapping[int, Sequence[int]] = field(default_factory=dict)


class _OffsetReader:
    """A consumer without a group, for its offset questions: it follows leaders and retries."""

    def __init__(
        self,
        admin: LogAdmin,
        partitions: Collection[TopicPartition],
        brokers: list[str],
        client: dict[str, Any],
        isolation: Isolation,
    ) -> None:
        self._admin, self._partitions = admin, partitions
        self._brokers, self._arguments = brokers, {"isolation_level": isolation, **client}

    async def __aenter__(self) -> Any:
        # Asked for a partition that is not there, the consumer would retry until its time-out.
        counts = await self._admin.partitions(sorted({partition.topic for partition in self._partitions}))
        for topic, number in self._partitions:
            if number >= counts.get(topic, 0):
                raise TopicError(f"{topic}[{number}] does not exist: run `replayer topics check`.")
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._brokers, client_id="replayer-offsets", **self._arguments
        )
        await opened(self._consumer, self._consumer.stop, self._brokers)
        return self._consumer

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()


def _hint(code: int) -> str:
    if code == 38:  # INVALID_REPLICATION_FACTOR
        return "Set REPLAYER_REPLICATION_FACTOR to no more than the number of brokers, or unset it."
    if code in (29, 31):  # TOPIC_ or CLUSTER_AUTHORIZATION_FAILED
        return (
            "The user REPLAYER_SASL_USERNAME names may not create topics: ask for the right, or let somebody make it."
        )
    return ""
