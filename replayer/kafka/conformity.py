"""Pure: the cluster's topics against the catalogue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from topics.catalogue import Topic


@dataclass(frozen=True, slots=True)
class Foreign:
    """A topic of somebody else's, how many partitions it was said to have, and the changelog of the table it feeds."""

    topic: str
    partitions: int
    changelog: str


def problems(
    topics: Sequence[Topic],
    partitions: Mapping[str, int],
    configs: Mapping[str, Mapping[str, str]],
    together: frozenset[str],
    foreign: Sequence[Foreign] = (),
) -> list[str]:
    """A sentence for each thing that is wrong, saying what to do.

    Args:
        topics: what there should be.
        partitions: number of partitions of each topic that exists.
        configs: settings of each topic that exists, in Kafka's own names.
        together: names of the topics that must have the same number of partitions.
        foreign: topics that are read besides.
    """
    there = [topic for topic in topics if topic.name in partitions]
    missing = [topic.name for topic in topics if topic.name not in partitions]
    found = [f"Topic {name} is missing: make it with `replayer topics create`." for name in missing]
    found += _counts([topic for topic in there if topic.name in together], partitions)
    for topic in there:
        found += _settings(topic, configs.get(topic.name, {}))
    for told in foreign:
        found += _foreign(told, partitions)
    return found


def _foreign(told: Foreign, partitions: Mapping[str, int]) -> list[str]:
    actual = partitions.get(told.topic)
    if actual is None:
        return [f"Foreign topic {told.topic} is missing: make it, or take it out of REPLAYER_FOREIGN_TOPICS."]
    if actual < told.partitions:
        return [
            f"Foreign topic {told.topic} has {actual} partitions and REPLAYER_FOREIGN_TOPICS says {told.partitions}: "
            f"say {actual}, if it was made anew that is meant."
        ]
    kept = partitions.get(told.changelog, actual)
    if kept < actual:
        return [
            f"Topic {told.changelog} has {kept} partitions and its foreign topic {actual}, for some were added: "
            "a worker gives it as many when it starts."
        ]
    if kept > actual:
        return [
            f"Topic {told.changelog} has {kept} partitions and foreign topic {told.topic} {actual}: it is not what "
            "it was. If that is meant, delete the changelog, and make it again with `replayer topics create`."
        ]
    return []


def _counts(topics: Sequence[Topic], partitions: Mapping[str, int]) -> list[str]:
    if not topics:
        return []
    counts = Counter(partitions[topic.name] for topic in topics)
    if len(counts) == 1:
        actual, wanted = partitions[topics[0].name], topics[0].partitions
        if actual == wanted:
            return []
        return [
            f"The topics have {actual} partitions and REPLAYER_PARTITIONS says {wanted}: "
            f"set REPLAYER_PARTITIONS={actual} (partitions of a keyed topic cannot be changed without moving its keys)."
        ]
    common = max(counts, key=lambda count: (counts[count], count))
    return [
        f"Topic {topic.name} has {partitions[topic.name]} partitions, "
        f"the topics it is read together with have {common}: a workflow's events would be split between workers. "
        f"If there is nothing in it, delete {topic.name} and make it again with {common} "
        f"(REPLAYER_PARTITIONS={common} `replayer topics create`); else copy its records first, then back, by key."
        for topic in topics
        if partitions[topic.name] != common
    ]


def _settings(topic: Topic, actual: Mapping[str, str]) -> list[str]:
    found = []
    wanted = topic.config()
    for key in ("cleanup.policy", "message.timestamp.type"):
        if actual.get(key) != wanted[key]:
            found.append(_mend(topic, key, str(actual.get(key)), wanted[key], _WHY[key]))
    key = "max.message.bytes"
    if int(actual.get(key, 0)) < int(wanted[key]):
        found.append(_mend(topic, key, str(actual.get(key)), wanted[key], _WHY[key]))
    key = "delete.retention.ms"
    if key in wanted and int(actual.get(key, 0)) < int(wanted[key]):
        found.append(_mend(topic, key, str(actual.get(key)), wanted[key], _WHY[key]))
    return found


_WHY = {
    "cleanup.policy": "records would be kept or deleted in a way replayer does not expect",
    "message.timestamp.type": "a producer's clock would stand where the time of appending is expected",
    "delete.retention.ms": "local state of a worker that was away could miss a deletion and bring back what was erased",
    "max.message.bytes": "records within replayer's own limit would be refused",
}


def _mend(topic: Topic, key: str, actual: str, wanted: str, why: str) -> str:
    return (
        f"Topic {topic.name} has {key}={actual}, it needs {wanted} ({why}): "
        f"kafka-configs.sh --alter --entity-type topics --entity-name {topic.name} --add-config {key}={wanted}"
    )
