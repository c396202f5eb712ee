"""A static member that comes back changed before its session ran out is handed the assignment it had."""

from __future__ import annotations

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata
from faust.types import TP

from tests.engine.fakes import CHANGELOG, Cluster
from tests.engine.stores import engine_at

OLD, NEW = "http://127.0.0.1:9", "http://127.0.0.1:1"


class Stage:
    def __init__(self, path, monkeypatch):
        self.engine = engine_at(path)
        self.assignor = self.engine.app.assignor
        self.again = 0
        cluster = Cluster(self.engine, monkeypatch)
        cluster.join_again = self.join_again
        self.engine.app.topics.add(self.engine.channel("t"))

    def join_again(self):
        self.again += 1

    def assign(self, url, topics=("t",)):
        partitions = {"t": [0, 1], CHANGELOG: [0, 1]}
        metadata = ClientMetadata(
            assignment=ClientAssignment(actives=partitions, standbys={}),
            url=url,
            changelog_distribution={url: {CHANGELOG: [0]}, "http://other": {CHANGELOG: [1]}},
            external_topic_distribution={url: {"t": [0]}, "http://other": {"t": [1]}},
            topic_groups=dict.fromkeys([*topics, CHANGELOG], 0),
        )
        self.assignor.on_assignment(
            ConsumerProtocolMemberAssignment(
                self.assignor.version, sorted(partitions.items()), self.assignor._compress(metadata.dumps())
            )
        )


@pytest.fixture
def stage(tmp_path, monkeypatch):
    return Stage(tmp_path, monkeypatch)


def test_an_assignment_for_this_worker_is_taken_as_it_is(stage):
    stage.assign(NEW)
    assert stage.again == 0
    assert stage.engine.owner("counts", 0) == NEW
    assert stage.engine.owner("counts", 1) == "http://other"


def test_one_for_another_address_is_taken_and_everybody_is_told(stage):
    stage.assign(OLD)
    assert stage.again == 1
    assert stage.engine.actives() == {TP("t", 0), TP("t", 1), TP(CHANGELOG, 0), TP(CHANGELOG, 1)}
    assert stage.engine.owner("counts", 0) == NEW, "nobody is sent to where this worker is not any more"
    assert stage.engine.owner("counts", 1) == "http://other"
    stage.assign(NEW)
    assert stage.again == 1


def test_one_that_stays_wrong_ends_the_worker(stage):
    stage.assign(OLD)
    with pytest.raises(AssertionError):
        stage.assign(OLD)
    assert stage.again == 1


def test_one_made_before_a_topic_was_added_is_asked_for_again_once(stage):
    stage.assign(NEW, topics=())
    stage.assign(NEW, topics=())  # the topic does not exist yet: no reason to go round for ever
    assert stage.again == 1
