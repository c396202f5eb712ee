"""A worker's own metrics, asked for over HTTP as Prometheus would."""

from __future__ import annotations

from collections.abc import Iterable

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


async def scraped(url: str) -> list[Sample]:
    """Every sample of `/metrics`. Raises aiohttp.ClientError."""
    async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(f"{url}/metrics") as answer:
        return samples(await answer.text())


def samples(text: str) -> list[Sample]:
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def value(told: Iterable[Sample], name: str, **labels: str) -> float:
    """The values of a metric added up over those labels that are not given; 0 where there is none."""
    return sum(
        sample.value
        for sample in told
        if sample.name == name and all(sample.labels.get(label) == wanted for label, wanted in labels.items())
    )
