"""From what a replay asks for to stretches of the log: the ends are snapshotted here, once, when it starts."""

from __future__ import annotations

from collections.abc import Collection

from aiokafka import TopicPartition

from replayer.core.selection import Selection
from replayer.core.stretch import LogFacts, Stretch, resolve, times_ms
from replayer.investigate.config import InvestigateConfig
from replayer.investigate.errors import Refused
from replayer.kafka.admin import LogAdmin
from topics.commands import BetweenOffsets, Range


async def snapshot(config: InvestigateConfig, asked: Range, selection: Selection) -> list[Stretch]:
    """The stretches a replay means, in the order of their topics and partitions.

    Ends are those of decided transactions (read_committed), as far as the log goes now. Raises Refused where the range
    names what is not there or selects nothing that could be read; KafkaError, LogError.
    """
    async with LogAdmin(config.brokers, config.client) as admin:
        counts = await admin.partitions(config.sources)
        partitions = _asked(config, asked, selection, counts)
        begins = await admin.begin_offsets(partitions)
        ends = await admin.end_offsets(partitions)
        start_ms, end_ms = times_ms(asked)
        starts_at = await admin.offsets_for_times(dict.fromkeys(partitions, start_ms)) if start_ms is not None else {}
        ends_at = await admin.offsets_for_times(dict.fromkeys(partitions, end_ms)) if end_ms is not None else {}
    facts = {tp: LogFacts(begins[tp], ends[tp], starts_at.get(tp), ends_at.get(tp)) for tp in partitions}
    found = [resolve(asked, tp.topic, tp.partition, facts[tp]) for tp in partitions]
    return [stretch for stretch in found if stretch is not None]


def _asked(
    config: InvestigateConfig, asked: Range, selection: Selection, counts: dict[str, int]
) -> Collection[TopicPartition]:
    if isinstance(asked, BetweenOffsets):
        named = [TopicPartition(part.topic, part.partition) for part in asked.partitions]
        for topic, partition in named:
            if topic not in config.sources:
                raise Refused(f"Topic {topic} is no event topic: a replay reads {', '.join(config.sources)}.")
            if partition >= counts.get(topic, 0):
                raise Refused(f"{topic}[{partition}] does not exist: {topic} has {counts.get(topic, 0)} partitions.")
        return sorted(named)
    missing = [topic for topic in config.sources if topic not in counts]
    if missing:
        raise Refused(f"Topic {', '.join(missing)} is missing: run `replayer topics create`.")
    return [
        TopicPartition(topic, partition)
        for topic in sorted(config.sources)
        for partition in sorted(selection.partitions(counts[topic], config.partition_of))
    ]
