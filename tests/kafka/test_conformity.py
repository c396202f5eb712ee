"""The cluster's topics against the catalogue: each difference one sentence that says what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replayer.kafka.conformity import Foreign, problems
from topics.catalogue import CHANGELOG_DELETE_RETENTION_MS, CO_PARTITIONED, DEAD_LETTERS, TOPICS, changelog

TOGETHER = frozenset(topic.name for topic in CO_PARTITIONED)
COUNTS = {topic.name: topic.partitions for topic in TOPICS}
CONFIGS = {topic.name: topic.config() for topic in TOPICS}


def test_a_cluster_as_the_catalogue_says_has_no_problem():
    assert problems(TOPICS, COUNTS, CONFIGS, TOGETHER) == []


def test_a_missing_topic_is_named_with_the_command_that_makes_it():
    counts = {name: count for name, count in COUNTS.items() if name != "tool-events"}
    assert problems(TOPICS, counts, CONFIGS, TOGETHER) == [
        "Topic tool-events is missing: make it with `replayer topics create`."
    ]


def test_one_co_partitioned_topic_with_another_count_is_named():
    found = problems(TOPICS, COUNTS | {"policy-events": 7}, CONFIGS, TOGETHER)
    assert len(found) == 1
    assert "policy-events has 7 partitions" in found[0]
    assert "have 4" in found[0]
    assert "make it again with 4" in found[0]


def test_one_other_count_for_all_is_a_matter_of_the_setting():
    counts = COUNTS | dict.fromkeys(TOGETHER, 6)
    assert [sentence.split(" (")[0] for sentence in problems(TOPICS, counts, CONFIGS, TOGETHER)] == [
        "The topics have 6 partitions and REPLAYER_PARTITIONS says 4: set REPLAYER_PARTITIONS=6"
    ]


def test_a_topic_that_is_not_co_partitioned_may_have_any_count():
    assert problems(TOPICS, COUNTS | {"dead-letters": 1}, CONFIGS, TOGETHER) == []


@pytest.mark.parametrize(
    ("topic", "key", "value", "wanted"),
    [
        (DEAD_LETTERS, "cleanup.policy", "compact", "delete"),
        (DEAD_LETTERS, "message.timestamp.type", "CreateTime", "LogAppendTime"),
        (DEAD_LETTERS, "max.message.bytes", "1000", DEAD_LETTERS.config()["max.message.bytes"]),
        (changelog("app", "timelines"), "cleanup.policy", "compact,delete", "compact"),
        (changelog("app", "timelines"), "delete.retention.ms", "1000", str(CHANGELOG_DELETE_RETENTION_MS)),
    ],
)
def test_a_wrong_setting_is_named_with_the_command_that_mends_it(topic, key, value, wanted):
    found = problems([topic], {topic.name: 4}, {topic.name: topic.config() | {key: value}}, frozenset())
    assert len(found) == 1
    assert f"{topic.name} has {key}={value}, it needs {wanted}" in found[0]
    assert f"--entity-name {topic.name} --add-config {key}={wanted}" in found[0]


def test_a_larger_limit_is_no_problem():
    topic = replace(DEAD_LETTERS, name="x")
    larger = topic.config() | {"max.message.bytes": "99999999"}
    assert problems([topic], {"x": 1}, {"x": larger}, frozenset()) == []


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"calls": 7, "kept": 7}, []),
        ({"calls": 7}, []),  # the changelog's own absence is told with the other topics'
        ({}, ["Foreign topic calls is missing: make it, or take it out of REPLAYER_FOREIGN_TOPICS."]),
        ({"calls": 5, "kept": 7}, ["Foreign topic calls has 5 partitions and REPLAYER_FOREIGN_TOPICS says 7: say 5"]),
        ({"calls": 9, "kept": 7}, ["a worker gives it as many when it starts"]),
        ({"calls": 9, "kept": 9}, []),
        ({"calls": 7, "kept": 8}, ["it is not what it was"]),
    ],
)
def test_what_foreign_topics_must_be(counts, said):
    found = problems(TOPICS, COUNTS | counts, CONFIGS, TOGETHER, [Foreign("calls", 7, "kept")])
    assert len(found) == len(said)
    assert all(part in sentence for part, sentence in zip(said, found, strict=True))
