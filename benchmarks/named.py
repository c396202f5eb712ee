"""The figures people ask for by name: what each says, and what it must reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Named:
    """A figure and its target where there is one, a lower or an upper bound.

    `under`: what the figure's detail must say for the target to be held against it; a figure measured otherwise is
    shown, and not judged. `signed`: it may be zero or below.
    """

    name: str
    says: str
    at_least: float | None = None
    at_most: float | None = None
    under: Mapping[str, Any] = field(default_factory=dict)
    signed: bool = False

    def target(self, entry: Mapping[str, Any]) -> str:
        """The target and whether it is met, as the report's column has it; empty where there is none."""
        bound, sign = (self.at_least, "≥") if self.at_least is not None else (self.at_most, "≤")
        if bound is None:
            return ""
        unit = "×" if "ratio" in entry else entry["unit"]
        detail = entry.get("detail", {})
        if other := [f"{name} {detail.get(name)}" for name, value in self.under.items() if detail.get(name) != value]:
            return f"{sign} {bound:g} {unit} (measured under {', '.join(other)})"
        number = entry.get("ratio", entry.get("value"))
        met = number >= bound if sign == "≥" else number <= bound
        return f"{sign} {bound:g} {unit} ({'met' if met else '**not met**'})"


#: A peer keeps a head and a row an event and caches all of it, as the targets have it; or the product's rows: more.
_MATERIALISE = (
    Named("vs_kafka_streams_eos", "both exactly once, against Kafka Streams (one thread, cache on)", 2.0),
    Named("vs_kafka_streams_alos", "both at least once, the same", 2.0),
    Named("vs_kafka_streams_eos_tuned", "both exactly once, against that with event rows past the cache"),
    Named("vs_kafka_streams_alos_tuned", "both at least once, the same"),
    Named("vs_kafka_streams_eos_same_rows", "both exactly once, against Kafka Streams keeping all the rows we do", 2.0),
    Named("vs_kafka_streams_alos_same_rows", "both at least once, the same", 2.0),
    Named("vs_kafka_streams_eos_same_rows_tuned", "both exactly once, all rows, what is written once past the cache"),
    Named("vs_kafka_streams_alos_same_rows_tuned", "both at least once, the same"),
    Named("vs_faust", "exactly once, against plain Faust", 18.0),
    Named("vs_faust_same_rows", "exactly once, against plain Faust keeping all the rows we do", 18.0),
    Named("vs_quix", "both at least once, against Quix Streams", 2.0),
    Named("vs_quix_same_rows", "both at least once, against Quix Streams keeping all the rows we do", 2.0),
    Named("vs_quix_eos_same_rows", "both exactly once, the same"),
    Named("share_of_limit", "exactly once, as a share of read + decode + validate, both in Python", 0.20),
    Named("share_of_limit_native", "exactly once, folded natively, as a share of the faster of the two limits", 0.20),
)

_RATE = {"events_per_s": 2000}

NAMED = (
    *(
        Named(f"materialise.{one.name}{suffix}", f"{one.says}, {size} events", one.at_least)
        for one in _MATERIALISE
        for suffix, size in (("", "1-KB"), ("_200b", "200-byte"))
    ),
    Named(
        "recovery.vs_faust",
        "recovery from an empty data directory, against plain Faust's of the same rows, a row",
        10.0,
    ),
    Named("recovery.us_per_row_100k", "the same of 100,000 rows, a row"),
    Named("recovery.us_per_row_1m", "the same of 1,000,000 rows, a row"),
    Named("recovery.us_per_row_10m", "the same of 10,000,000 rows, a row"),
    Named("recovery.growth", "a row's cost at the most rows, over that at the fewest", at_most=1.25),
    Named("latency.p50_ms", "exactly once: event to queryable, median"),
    Named("latency.p99_ms", "exactly once: the same, 99th percentile", at_most=200.0, under=_RATE),
    Named("latency.p50_ms_at_least_once", "at least once: the same, median"),
    Named("latency.p99_ms_at_least_once", "at least once: the same, 99th percentile", at_most=100.0, under=_RATE),
    Named("scaling.two_workers", "two workers against one, both beside the broker on the same cores"),
    Named(
        "hot.flatness",
        "one workflow of 10⁶ events: an event's cost in its last three tenths, over the second to fourth",
        at_most=1.2,
    ),
    Named("hot.page_ms_start", "its timeline over HTTP: a page of 50 at the start, median"),
    Named("hot.page_ms_middle", "the same in the middle"),
    Named("hot.page_ms_end", "the same at the end"),
    Named("hot.page_growth", "the slowest of them, over the same of a workflow with 200 events", at_most=1.5),
    Named("index.rate_share", "exactly once: the rate with the index on, as a share of that without", 0.6),
    Named(
        "index.first_page_ms",
        "a template version's decisions over HTTP: the first page of 50, median",
        at_most=20.0,
        under={"uses": 1_000_000},
    ),
    Named("index.page_growth", "page after page by cursor: the last hundred pages, over the first", at_most=1.5),
    Named(
        "memory.slope_mb_per_1m", "resident memory of a worker behind the warm-up, MB more per 10⁶ events", signed=True
    ),
    Named("memory.rise_over_noise", "that slope, over the uncertainty of it (95 %, ten blocks)", at_most=1.0),
    Named("memory.rss_mb_after_1m", "resident memory of a worker after 1,000,000 events"),
    Named("profile.us_per_event.1KB", "exactly once: processor time of an event in a running worker, 1-KB events"),
    Named("profile.us_per_event.1KB_at_least_once", "at least once: the same"),
)
"""In the order of the report."""

AWAITED: frozenset[str] = frozenset()
"""Named, and not measured yet. Whoever records one takes it out here: a test holds the two together."""
