"""Who has a copy of a partition follows its owner. A static member that comes back changed is handed what it had."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from faust.assignor import partition_assignor
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata, CopartitionedAssignment
from faust.assignor.copartitioned_assignor import CopartitionedAssignor
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from replayer.engine.assignor import WarmAssignor
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


def assigned(members, partitions, replicas, assignor=WarmAssignor):
    """What becomes of the assignment that the members bring with them."""
    return assignor({"t"}, copy.deepcopy(members), partitions, replicas).get_assignment()


@given(
    st.integers(1, 12),
    st.integers(0, 2),
    st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=1, max_size=8),
    st.integers(1, 5),
)
def test_who_has_a_copy_follows(partitions, replicas, turns, workers):
    """In every turn somebody leaves (a number) or comes (None). All is assigned, once, and copied elsewhere."""
    names = [f"w{number}" for number in range(workers)]
    members = assigned({name: CopartitionedAssignment(topics={"t"}) for name in names}, partitions, replicas)
    for turn, leaver in enumerate(turns):
        before = copy.deepcopy(members)
        left = None
        if leaver is None or len(members) == 1:
            members[f"n{turn}"] = CopartitionedAssignment(topics={"t"})
        else:
            left = sorted(members)[leaver % len(members)]
            del members[left]
        members = assigned(members, partitions, replicas)
        actives = Counter(number for one in members.values() for number in one.actives)
        assert actives == dict.fromkeys(range(partitions), 1)
        copies = Counter(number for one in members.values() for number in one.standbys)
        assert set(copies.values()) <= {min(replicas, len(members) - 1)}
        assert all(one.actives.isdisjoint(one.standbys) for one in members.values())
        if left is not None:
            for number in before[left].actives:
                holders = {name for name, one in before.items() if number in one.standbys}
                (heir,) = (name for name, one in members.items() if number in one.actives)
                assert heir in holders or not holders
        else:
            assert max(len(one.actives) for one in members.values()) <= -(-partitions // len(members))


def test_faust_s_own_gives_one_to_who_has_none():
    """The day this fails, WarmAssignor can go."""
    members = {
        "a": CopartitionedAssignment({0, 1}, {2}, {"t"}),
        "b": CopartitionedAssignment({2}, {0, 1}, {"t"}),
        "c": CopartitionedAssignment({3}, set(), {"t"}),
    }
    del members["a"]
    theirs, ours = (
        assigned(members, 4, 1, assignor)["b"].actives for assignor in (CopartitionedAssignor, WarmAssignor)
    )
    assert not {0, 1} <= theirs
    assert {0, 1} <= ours


def test_it_is_the_one_that_assigns(stage):
    assert partition_assignor.CopartitionedAssignor is WarmAssignor
