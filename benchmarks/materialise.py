"""Durable materialisation: validated events to head, rows and digest; changelog, RocksDB and offset all written.

Every contender reads the same topic of the same embedded broker from its start, alone, in a process of its own, one
after another in alternating order. Measured from outside: the slope of the group's committed offsets behind the
warm-up. An offset counts when it is committed, which every contender does behind the broker's word for its changelog.
Broker and contender share the machine: ratios mean something, rates are this machine's.

Not measured: more than one worker, a broker elsewhere, replication, queries meanwhile.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.cluster import cluster, create
from benchmarks.contender import WORKER, Contender, Source, measure
from benchmarks.contenders import streams_check
from benchmarks.contenders.kafka_streams import jdk
from benchmarks.progress import Progress
from benchmarks.rate import Rate
from benchmarks.results import Figure, Results
from benchmarks.workload import ACTIVE, PER_WORKFLOW, fill, source_topic, workload
from replayer.core import sizes
from replayer.core.sizes import Size
from replayer.native.library import Library, NoLibrary
from topics.catalogue import DEFAULT_MAX_RECORD_BYTES, DEFAULT_PARTITIONS

FAUST = {
    "producer_linger": 0.02,  # seconds; 0.02 to 0.05 measured alike, 0 (the default) half as fast
    "producer_acks": -1,
    "producer_max_batch_size": 262144,
    "stream_wait_empty": False,
    "stream_buffer_maxsize": 16384,
    "consumer_max_fetch_size": 1 << 20,
    "broker_commit_interval": 2.8,
    "broker_commit_every": 10000,
    "web_enabled": False,
    "producer.buffer.max_messages": 1000,
    "table_options": {"driver": "rocksdict", "block_cache_size": 64 << 20, "write_buffer_size": 64 << 20},
}
_QUIX = {
    "commit_interval": 5.0,
    "broker_availability_timeout": 0,
    "producer_extra_config": {"linger.ms": 50, "batch.size": 1 << 20, "queue.buffering.max.messages": 500_000},
    "consumer_extra_config": {"queued.min.messages": 100_000},
}
_STREAMS = {
    "heap_mb": 1024,
    "cache_all": True,
    "collector": "SerialGC",  # the two cores are for the thread and the broker; G1 measured slower
    "num.stream.threads": 1,
    "statestore.cache.max.bytes": 64 << 20,
    "producer.linger.ms": 50,
    "producer.batch.size": 1 << 18,
    "producer.buffer.memory": 128 << 20,
    "consumer.max.poll.records": 4000,
    "consumer.max.partition.fetch.bytes": 4 << 20,
    "buffered.records.per.partition": 8000,
}
_STREAMS_ALOS = {**_STREAMS, "processing.guarantee": "at_least_once", "commit.interval.ms": 1000}
_STREAMS_EOS = {**_STREAMS, "processing.guarantee": "exactly_once_v2", "commit.interval.ms": 500}
#: What is written once and read again only to find a duplicate (event and identity rows) goes straight to RocksDB and
#: the changelog, which measured twice as fast as through the cache; heads and decisions are cached.
_TUNED = {"cache_all": False}
_LIMIT = {"max_partition_fetch_bytes": 4 << 20, "fetch_max_bytes": 52428800}
#: What Java's compiler takes until the rate is steady.
JIT_S = 10.0


def _streams(name: str, label: str, settings: Mapping[str, Any], **further: Any) -> Contender:
    return Contender(name, label, "kafka_streams", {**settings, **further}, warm_up_s=JIT_S)


#: No peer keeps an index, so ours is off; what it costs stands in benchmarks.index.
CONTENDERS = (
    Contender(
        "replayer-eos", "replayer, exactly once (default)", WORKER, {"guarantee": "exactly_once", "index": False}
    ),
    Contender("replayer-alos", "replayer, at least once", WORKER, {"guarantee": "at_least_once", "index": False}),
    Contender(
        "replayer-eos-python",
        "replayer, exactly once, folded in Python",
        WORKER,
        {"guarantee": "exactly_once", "index": False, "fold": "python"},
    ),
    Contender("faust", "plain Faust, the same rows", "plain_faust", {**FAUST, "rows": "all"}),
    Contender("faust-lean", "plain Faust, head and event row", "plain_faust", {**FAUST, "rows": "lean"}),
    Contender("quix", "Quix Streams, the same rows", "quix", {**_QUIX, "rows": "all"}, environment="peers"),
    Contender(
        "quix-eos",
        "Quix Streams, the same rows, exactly once",
        "quix",
        {**_QUIX, "processing_guarantee": "exactly-once", "rows": "all"},
        environment="peers",
    ),
    Contender("quix-lean", "Quix Streams, head and event row", "quix", {**_QUIX, "rows": "lean"}, environment="peers"),
    _streams("streams", "Kafka Streams, the same rows", _STREAMS_ALOS, rows="all"),
    _streams("streams-eos", "Kafka Streams, the same rows, exactly once", _STREAMS_EOS, rows="all"),
    _streams("streams-tuned", "Kafka Streams tuned, the same rows", _STREAMS_ALOS, **_TUNED, rows="all"),
    _streams(
        "streams-eos-tuned", "Kafka Streams tuned, the same rows, exactly once", _STREAMS_EOS, **_TUNED, rows="all"
    ),
    _streams("streams-lean", "Kafka Streams, head and event row", _STREAMS_ALOS, rows="lean"),
    _streams("streams-eos-lean", "Kafka Streams, head and event row, exactly once", _STREAMS_EOS, rows="lean"),
    _streams(
        "streams-lean-tuned", "Kafka Streams tuned, head and event row", _STREAMS_ALOS, **_TUNED, rows="lean"
    ),
    _streams(
        "streams-eos-lean-tuned",
        "Kafka Streams tuned, head and event row, exactly once",
        _STREAMS_EOS,
        **_TUNED,
        rows="lean",
    ),
    Contender("limit", "read, decode, validate; no state", "limit", {**_LIMIT, "decoder": "python"}, warm_up_s=1.0),
    Contender(
        "limit-native", "the same, decoded natively", "limit", {**_LIMIT, "decoder": "native"}, warm_up_s=1.0
    ),
)  # fmt: skip

#: Cores kept busy by processes that have no part in it: above this, a run says so.
DISTURBED = 0.1

#: Figure name without size, ours, the other.
RATIOS = (
    ("materialise.vs_faust_same_rows", "replayer-eos", "faust"),
    ("materialise.vs_faust", "replayer-eos", "faust-lean"),
    ("materialise.vs_quix_same_rows", "replayer-alos", "quix"),
    ("materialise.vs_quix_eos_same_rows", "replayer-eos", "quix-eos"),
    ("materialise.vs_quix", "replayer-alos", "quix-lean"),
    ("materialise.vs_kafka_streams_alos_same_rows", "replayer-alos", "streams"),
    ("materialise.vs_kafka_streams_eos_same_rows", "replayer-eos", "streams-eos"),
    ("materialise.vs_kafka_streams_alos_same_rows_tuned", "replayer-alos", "streams-tuned"),
    ("materialise.vs_kafka_streams_eos_same_rows_tuned", "replayer-eos", "streams-eos-tuned"),
    ("materialise.vs_kafka_streams_alos", "replayer-alos", "streams-lean"),
    ("materialise.vs_kafka_streams_eos", "replayer-eos", "streams-eos-lean"),
    ("materialise.vs_kafka_streams_alos_tuned", "replayer-alos", "streams-lean-tuned"),
    ("materialise.vs_kafka_streams_eos_tuned", "replayer-eos", "streams-eos-lean-tuned"),
    ("materialise.share_of_limit", "replayer-eos-python", "limit"),
)


LIMITS = ("limit", "limit-native")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run: `events` in the log of each size, `seconds` measured of each contender, `rounds` of everybody."""

    sizes: Sequence[Size]
    events: int
    seconds: float
    rounds: int
    contenders: Sequence[str] = field(default_factory=lambda: tuple(contender.name for contender in CONTENDERS))


async def materialise(plan: Plan, results: Results, progress: Progress) -> None:
    """Run the plan and record rates and ratios. Raises PeerDiffers where Kafka Streams does not do the same work."""
    chosen = _chosen(plan, progress)
    for size in plan.sizes:
        rates = await _measure_size(size, plan, chosen, progress)
        results.record(*_figures(size, plan, rates))


def _chosen(plan: Plan, progress: Progress) -> list[Contender]:
    """The contenders of the plan that can run here; those in Java were compared with the product's fold first."""
    chosen = [contender for contender in CONTENDERS if contender.name in plan.contenders]
    missing = _no_library()
    if missing is not None and any(map(_decodes_natively, chosen)):
        progress.say(f"the limit decoded natively is left out: {missing}")
        chosen = [contender for contender in chosen if not _decodes_natively(contender)]
    if any(contender.program == "kafka_streams" for contender in chosen):
        if jdk() is None:
            progress.say("Kafka Streams is left out: there is no JDK here (javac on the PATH)")
            return [contender for contender in chosen if contender.program != "kafka_streams"]
        with progress.waiting("Kafka Streams: does it refuse, count and digest what the product does?"):
            streams_check.check()
        progress.say("Kafka Streams refuses, counts and digests what the product does")
    return chosen


def _decodes_natively(contender: Contender) -> bool:
    return contender.settings.get("decoder") == "native"


async def _measure_size(
    size: Size, plan: Plan, chosen: Sequence[Contender], progress: Progress
) -> dict[str, list[Rate]]:
    rates: dict[str, list[Rate]] = {}
    async with cluster() as broker:
        source = Source(broker, sizes.topic(size), DEFAULT_PARTITIONS, plan.events)
        await create(broker.admin, [source_topic(source.topic, source.partitions)])
        with progress.counting(f"writing {plan.events:,} events of {size}", plan.events) as moved:
            written = await fill(broker.bootstrap, source.topic, source.partitions, workload(size, plan.events), moved)
        progress.say(f"{size}: {plan.events:,} events, {written / plan.events:.0f} bytes each")
        for number in range(plan.rounds):
            for contender in chosen if number % 2 == 0 else reversed(chosen):
                with progress.waiting(f"round {number + 1} of {plan.rounds}: {contender.label}"):
                    rate = await measure(contender, source, plan.seconds)
                rates.setdefault(contender.name, []).append(rate)
                progress.say(
                    f"  round {number + 1}  {contender.label:36} {rate.per_second:10,.0f} events/s over "
                    f"{rate.seconds:4.1f} s, {rate.cpu_us_per_event:5.0f} µs CPU/event, {rate.rss_mb:5.0f} MB"
                    + (f"  DISTURBED: {rate.disturbed:.2f} cores busy elsewhere" if rate.disturbed > DISTURBED else "")
                )
    return rates


def _fold_in_use(contender: Contender) -> str:
    """Which fold a worker of ours has here: native where the library was built, unless it is told otherwise."""
    return "python" if contender.settings.get("fold") == "python" or _no_library() is not None else "native"


def _no_library() -> NoLibrary | None:
    """Why there is no native library here; None where there is one."""
    try:
        Library(DEFAULT_MAX_RECORD_BYTES)
    except NoLibrary as exc:
        return exc
    return None


def _figures(size: Size, plan: Plan, rates: dict[str, list[Rate]]) -> list[Figure]:
    described = (
        f"{plan.events:,} events in {DEFAULT_PARTITIONS} partitions, {ACTIVE:,} workflows in turn with {PER_WORKFLOW} "
        f"events each; {plan.rounds} rounds in alternating order, up to {plan.seconds:g} s each behind the warm-up"
    )
    median = {name: statistics.median(rate.per_second for rate in runs) for name, runs in rates.items()}
    figures = []
    for contender in CONTENDERS:
        if contender.name not in rates:
            continue
        runs = rates[contender.name]
        detail: dict[str, Any] = {
            "label": contender.label,
            "rounds": [float(f"{rate.per_second:.3g}") for rate in runs],
            "cpu_us_per_event": round(statistics.median(rate.cpu_us_per_event for rate in runs), 1),
            "broker_cpu_us_per_event": round(statistics.median(rate.broker_cpu_us_per_event for rate in runs), 1),
            "disturbed_cores": round(max(rate.disturbed for rate in runs), 2),
            "rss_mb": round(max(rate.rss_mb for rate in runs)),
            "events": sum(rate.events for rate in runs),
            "settings": {name: value for name, value in contender.settings.items() if name != "rows"},
            **({"fold": _fold_in_use(contender)} if contender.program == WORKER else {}),
            "workload": described,
        }
        figures.append(Figure(f"materialise.rate.{size}.{contender.name}", median[contender.name], "events/s", detail))
    suffix = "" if size == "1KB" else "_200b"
    for name, ours, other in RATIOS:
        if ours in median and other in median:
            figures.append(Figure(name + suffix, median[ours] / median[other], "x", {"of": f"{ours} / {other}"}))
    if len(limits := [median[name] for name in LIMITS if name in median]) == len(LIMITS) and "replayer-eos" in median:
        of = {"of": f"replayer-eos / the faster of {' and '.join(LIMITS)}"}
        figures.append(
            Figure(f"materialise.share_of_limit_native{suffix}", median["replayer-eos"] / max(limits), "x", of)
        )
    return figures
