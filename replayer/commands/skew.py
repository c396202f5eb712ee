"""topics skew: the fullest partitions and the hottest keys of the topics that timelines are made of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from replayer.commands import output
from replayer.commands.failures import CommandFailed, Exit
from replayer.commands.options import Broker, Json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka import TopicPartition

    from replayer.core.skew import Skew
    from replayer.settings import Settings

    Ranges = Mapping[TopicPartition, tuple[int, int]]


def skew(
    topics: Annotated[
        tuple[str, ...], Parameter(help="which; without any, all that timelines are made of, foreign ones included")
    ] = (),
    /,
    *,
    records: Annotated[
        int, Parameter(validator=Number(gte=1, lte=10_000_000), help="read of each topic, the latest ones")
    ] = 100_000,
    keys: Annotated[int, Parameter(validator=Number(gte=1, lte=1000), help="hottest keys shown")] = 20,
    broker: Broker = None,
    json: Json = False,
) -> int:
    """Report how unevenly records are dealt out over partitions and keys.

    Partitions are counted by their offsets; keys in the latest records, which are read without a group, of each
    partition in proportion to its size.
    """
    from replayer.settings import load

    settings = load(broker=broker)
    named = topics or _all(settings)
    ranges, found = asyncio.run(_look(settings, named, records))
    if json:
        output.say_json(_told(ranges, found, keys))
        return Exit.OK
    output.stdout().print(_partitions(ranges))
    output.stdout().print(_keys(found, keys))
    return Exit.OK


def _all(settings: Settings) -> tuple[str, ...]:
    from topics.catalogue import SOURCES

    return (*(topic.name for topic in SOURCES), *(foreign.topic for foreign in settings.foreign_topics))


async def _look(settings: Settings, names: Sequence[str], records: int) -> tuple[Ranges, Skew]:
    """The offsets of every partition of these topics, and what the latest records say."""
    from aiokafka import TopicPartition

    from replayer.core.skew import Skew
    from replayer.kafka.admin import LogAdmin
    from replayer.kafka.connection import check_broker, client_arguments
    from replayer.kafka.reader import LogReader

    await check_broker(settings)
    arguments = client_arguments(settings)
    async with LogAdmin(settings.brokers, arguments) as admin:
        counts = await admin.partitions(names)
        if missing := [name for name in names if name not in counts]:
            raise CommandFailed(f"There is no topic {missing[0]}: `replayer topics check` says more.", Exit.NOT_FOUND)
        tps = [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
        begins, ends = await admin.begin_offsets(tps), await admin.end_offsets(tps)
    ranges = {tp: (begins[tp], ends[tp]) for tp in tps}
    found = Skew()
    latest = _latest(ranges, records)
    with output.progress("reading the latest records") as bar:
        task = bar.add_task("", total=sum(end - start for start, end in latest.values()))
        async with LogReader(settings.brokers, arguments) as reader:
            async for batch in reader.read(latest):
                found.see(batch.records)
                bar.advance(task, batch.after - batch.before)
    return ranges, found


def _latest(ranges: Ranges, records: int) -> Ranges:
    """The latest records of each topic, of each partition in proportion to its size: shares of them are the topic's."""
    sizes = _sizes(ranges)
    found = {}
    for tp, (begin, end) in ranges.items():
        share = -(-records * (end - begin) // max(1, sum(sizes[tp.topic].values())))
        found[tp] = (max(begin, end - share), end)
    return found


def _sizes(ranges: Ranges) -> dict[str, dict[int, int]]:
    """Offsets in the log, by topic and partition."""
    sizes: dict[str, dict[int, int]] = {}
    for tp, (begin, end) in ranges.items():
        sizes.setdefault(tp.topic, {})[tp.partition] = end - begin
    return sizes


def _partitions(ranges: Ranges) -> Any:
    from replayer.core.skew import factor

    rows = []
    for topic, sizes in _sizes(ranges).items():
        whole, fullest = sum(sizes.values()), max(sizes, key=lambda number: sizes[number])
        share = f"{sizes[fullest] / whole:.0%}" if whole else "-"
        rows.append((topic, f"{len(sizes)}", f"{whole:,}", f"{fullest}", share, f"{factor(sizes.values()):.2f}"))
    return output.table(("topic", "partitions", "offsets", "fullest", "its share", "fullest / average"), rows)


def _keys(found: Skew, most: int) -> Any:
    rows = [
        (
            _spoken(key),
            topic,
            str(at),
            f"{load.records:,}",
            f"{load.records / found.records_of(topic):.1%}",
            f"{load.bytes:,}",
        )
        for (topic, at, key), load in found.hottest(most)
    ]
    return output.table(
        ("key", "topic", "partition", "records", "share of topic", "bytes"),
        rows,
        f"of the latest {found.records:,} records",
    )


def _spoken(key: bytes | None) -> str:
    """A key as text; None for records without one, escapes for what is no text, at most 80 characters."""
    return "(none)" if key is None else ascii(key.decode("utf-8", "backslashreplace"))[1:-1][:80]


def _told(ranges: Ranges, found: Skew, most: int) -> dict[str, Any]:
    return {
        "partitions": [
            {"topic": topic, "partition": number, "offsets": size}
            for topic, sizes in _sizes(ranges).items()
            for number, size in sizes.items()
        ],
        "records_read": found.records,
        "keys": [
            {
                "key": None if key is None else _spoken(key),
                "topic": topic,
                "partition": partition,
                "records": load.records,
                "share_of_topic": load.records / found.records_of(topic),
                "bytes": load.bytes,
            }
            for (topic, partition, key), load in found.hottest(most)
        ],
    }
