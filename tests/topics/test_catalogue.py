"""The table of topics agrees with the language, and leaves room for what travels on it."""

from __future__ import annotations

from topics.catalogue import (
    CONTEXT_BYTES,
    DEAD_LETTERS,
    DEFAULT_MAX_RECORD_BYTES,
    SOURCES,
    TOPICS,
    changelog,
    with_partitions,
)
from topics.classification import Classification, classification_of
from topics.envelope import Envelope
from topics.registry import EVENT_TYPES, FAMILIES


def test_a_source_for_every_family() -> None:
    assert tuple(topic.name for topic in SOURCES) == FAMILIES
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)


def test_a_source_is_as_sensitive_as_its_most_sensitive_field() -> None:
    def strictest(family: str) -> Classification:
        infos = [*Envelope.model_fields.values()]
        for known in EVENT_TYPES.values():
            if known.family == family:
                infos += known.data.model_fields.values()
        return max((level for info in infos if (level := classification_of(info))), key=lambda level: level.rank)

    assert {topic.name: topic.classification for topic in SOURCES} == {name: strictest(name) for name in FAMILIES}
    assert DEAD_LETTERS.classification is Classification.RESTRICTED


def test_append_time_and_room_for_the_context() -> None:
    for topic in (*TOPICS, changelog("app", "timelines")):
        assert topic.config()["message.timestamp.type"] == "LogAppendTime"
    for source in SOURCES:
        assert source.max_message_bytes > DEFAULT_MAX_RECORD_BYTES  # a record of the limit's size gets in
        assert DEAD_LETTERS.max_message_bytes == source.max_message_bytes + CONTEXT_BYTES


def test_a_changelog_is_purely_compacted_and_keeps_tombstones_for_a_stated_time() -> None:
    topic = changelog("replayer", "timelines", 8)
    assert topic.name == "replayer-timelines-changelog"
    assert topic.partitions == 8
    config = topic.config()
    assert config["cleanup.policy"] == "compact"
    assert int(config["delete.retention.ms"]) > 0
    assert "retention.ms" not in config
    assert topic.classification.projected


def test_co_partitioned_topics_change_together() -> None:
    assert {topic.partitions for topic in with_partitions(SOURCES, 7)} == {7}
