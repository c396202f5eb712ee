"""The topics of one deployment: the catalogue with this deployment's partitions, sizes and changelogs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from replayer.flows.tables import INVESTIGATIONS, RELAY, REPLAYS, TEMPLATES, TIMELINES
from replayer.kafka.conformity import Foreign
from replayer.settings import Settings
from replayer.settings.foreign import ForeignTopic
from topics import catalogue
from topics.catalogue import Topic


def delete_retention_ms(settings: Settings) -> int:
    return int(settings.delete_retention_h * 3_600_000)


def topics(settings: Settings) -> tuple[Topic, ...]:
    """Every topic `replayer topics create` makes and a worker checks at start."""
    rekeyed = (catalogue.REKEYED_EVENTS,) if settings.foreign_topics else ()
    shared = catalogue.with_partitions((*catalogue.TOPICS, *rekeyed), settings.partitions)
    changelogs = (
        catalogue.changelog(settings.app_id, TIMELINES, settings.partitions),
        catalogue.changelog(settings.app_id, TEMPLATES, settings.partitions),
        catalogue.changelog(settings.app_id, REPLAYS, settings.partitions),
        catalogue.changelog(settings.investigator_app_id, INVESTIGATIONS, settings.partitions),
        *(_relayed(settings, told) for told in settings.foreign_topics),
    )
    kept = delete_retention_ms(settings)
    return (
        *shared,
        *(replace(topic, delete_retention_ms=kept) for topic in changelogs),
    )


def sources(settings: Settings) -> tuple[str, ...]:
    """Names of the topics whose events timelines and replays are made of."""
    rekeyed = (catalogue.REKEYED_EVENTS,) if settings.foreign_topics else ()
    return tuple(topic.name for topic in (*catalogue.SOURCES, *rekeyed))


def together(settings: Settings) -> list[str]:
    """Names of the topics that must have one number of partitions: sources, replays and the changelogs of both."""
    apart = {catalogue.DEAD_LETTERS.name, *(told.changelog for told in foreign(settings))}
    return [topic.name for topic in topics(settings) if topic.name not in apart]


def foreign(settings: Settings) -> list[Foreign]:
    """Each foreign topic, which is somebody else's, and the changelog of its positions."""
    return [Foreign(told.topic, told.partitions, _relayed(settings, told).name) for told in settings.foreign_topics]


def grown(settings: Settings, counts: Mapping[str, int]) -> Settings:
    """The settings with as many partitions of foreign topics as there are, where that is more than was declared."""
    told = tuple(
        told.model_copy(update={"partitions": max(told.partitions, counts.get(told.topic, 0))})
        for told in settings.foreign_topics
    )
    return settings.model_copy(update={"foreign_topics": told})


def _relayed(settings: Settings, told: ForeignTopic) -> Topic:
    return catalogue.changelog(settings.app_id, RELAY + told.topic, told.partitions)
