"""The harness says so when a run could not have shown anything, and when a worker is not there any more."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.chaos.cluster import Cluster
from tests.chaos.feed import Fate
from tests.chaos.mutants import counted
from tests.chaos.recipes.processes import KILL_9
from tests.chaos.trial import Trial, too_weak
from tests.chaos.workload import EVENTS


def trial(*, acked=EVENTS, refused=0, gone=0, struck=3, events=EVENTS + 200):
    fates = [Fate.ACKED] * acked + [Fate.FAILED] * refused + [Fate.GONE] * gone
    feed = SimpleNamespace(sent=[SimpleNamespace(fate=fate) for fate in fates])
    nothing = SimpleNamespace()
    return Trial(nothing, feed, nothing, events, nothing, nothing, Path(), Path(), struck)


def test_a_run_with_its_events_and_its_faults_is_strong_enough():
    assert too_weak(KILL_9, trial()) == []
    assert too_weak(KILL_9, trial(acked=EVENTS - 500, gone=500)) == []


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (trial(acked=EVENTS - 1), "19999 of 20200 records were acked"),
        (trial(refused=2), "2 records were refused"),
        (trial(struck=2), "struck 2 times, not 3"),
    ],
)
def test_one_without_is_a_finding(made, said):
    assert too_weak(KILL_9, made) == [said]


def worker(tmp_path, *, exit_code, dismissed=False, said="the worker ends"):
    log = tmp_path / "w.log"
    log.write_text(said)
    started = []
    return SimpleNamespace(
        instance="w1",
        exit_code=exit_code,
        running=exit_code is None,
        dismissed=dismissed,
        log=log,
        tail=lambda: "",
        start=lambda: started.append(True),
        started=started,
    )


def cluster(tmp_path, *workers, may_end=False):
    found = Cluster(tmp_path, may_end=may_end)
    found.workers = list(workers)
    return found


@pytest.mark.parametrize("exit_code", [0, 1, -9])
def test_a_worker_that_ends_though_nobody_ended_it_is_a_failure(tmp_path, exit_code):
    with pytest.raises(AssertionError, match="a worker has ended"):
        cluster(tmp_path, worker(tmp_path, exit_code=exit_code)).look_after_workers()


def test_one_that_may_end_is_started_again_if_it_said_why(tmp_path):
    ended = worker(tmp_path, exit_code=1)
    cluster(tmp_path, ended, may_end=True).look_after_workers()
    assert ended.started == [True]
    for wrong in (worker(tmp_path, exit_code=0), worker(tmp_path, exit_code=1, said="nothing")):
        with pytest.raises(AssertionError):
            cluster(tmp_path, wrong, may_end=True).look_after_workers()


def test_one_that_was_ended_by_somebody_is_left_alone_and_counts_as_absent(tmp_path):
    dismissed, there = worker(tmp_path, exit_code=0, dismissed=True), worker(tmp_path, exit_code=None)
    found = cluster(tmp_path, dismissed, there)
    found.look_after_workers()
    assert dismissed.started == []
    assert found.absent() == ["w1 (exit code 0)"]


def test_counts_of_steps_are_added_up_over_processes(tmp_path):
    path = tmp_path / "counts"
    path.write_text("folded 3\nreprocessed 0\nfolded 4\nreprocessed 2\n")
    assert counted.counts(path) == {"folded": 7, "reprocessed": 2}
