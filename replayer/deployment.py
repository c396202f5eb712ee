"""The topics of one deployment: the catalogue with this deployment's partitions, sizes and changelogs."""

from __future__ import annotations

from dataclasses import replace

from replayer.flows.tables import INVESTIGATIONS, REPLAYS, TEMPLATES, TIMELINES
from replayer.settings import Settings
from topics import catalogue
from topics.catalogue import Topic


def delete_retention_ms(settings: Settings) -> int:
    return int(settings.delete_retention_h * 3_600_000)


def topics(settings: Settings) -> tuple[Topic, ...]:
    """Every topic `replayer topics create` makes and a worker checks at start."""
    shared = catalogue.with_partitions(catalogue.TOPICS, settings.partitions)
    changelogs = (
        catalogue.changelog(settings.app_id, TIMELINES, settings.partitions),
        catalogue.changelog(settings.app_id, TEMPLATES, settings.partitions),
        catalogue.changelog(settings.app_id, REPLAYS, settings.partitions),
        catalogue.changelog(settings.investigator_app_id, INVESTIGATIONS, settings.partitions),
    )
    kept = delete_retention_ms(settings)
    return (
        *shared,
        *(replace(topic, delete_retention_ms=kept) for topic in changelogs),
    )


def together(settings: Settings) -> list[str]:
    """Names of the topics that must have one number of partitions: sources, replays and the changelogs of both."""
    return [topic.name for topic in topics(settings) if topic.name != catalogue.DEAD_LETTERS.name]
