"""Where an event's processor time goes: the arithmetic of two looks."""

from __future__ import annotations

import os
import time

import pytest

from benchmarks import report
from benchmarks.profile_worker import STAGES, Look, stages, threads
from benchmarks.rate import NotMeasurable

MAIN, FETCH, OTHER, FLUSH = (10, "python"), (11, "python"), (12, "python"), (13, "rocksdb:low")


def look(at: float, events: float, cpu: dict[tuple[int, str], float], fold_s: float, store_s: float) -> Look:
    return Look(at, cpu, at / 4, events, events / 100, fold_s, store_s, 0.0)


def test_each_thread_and_step_has_its_microseconds() -> None:
    before = look(0.0, 1000, {MAIN: 1.0, FETCH: 1.0, OTHER: 1.0, FLUSH: 1.0}, 0.5, 0.1)
    after = look(10.0, 101_000, {MAIN: 7.0, FETCH: 2.0, OTHER: 1.25, FLUSH: 1.5, (14, "rocksdb:high"): 0.25}, 3.5, 0.6)
    found = stages(before, after, pid=10)
    assert found == pytest.approx(
        {
            "fold": 30.0,
            "store": 5.0,
            "loop": 25.0,
            "main_thread": 60.0,
            "fetch_thread": 10.0,
            "other_threads": 2.5,
            "rocksdb_threads": 7.5,
            "worker": 80.0,
            "broker": 25.0,
            "wall": 100.0,
            "durable_wait": 0.0,
        }
    )
    assert STAGES.keys() <= found.keys()


def test_steps_that_waited_leave_nothing_below_zero() -> None:
    found = stages(look(0.0, 0, {MAIN: 0.0}, 0.0, 0.0), look(1.0, 10, {MAIN: 1.0}, 2.0, 0.0), pid=10)
    assert (found["loop"], found["main_thread"]) == (0.0, pytest.approx(100_000))


def test_the_report_has_a_row_for_each_stage_and_says_where_waiting_hides_the_rest() -> None:
    spent = dict.fromkeys(STAGES, 10.0) | {"main_thread": 60.0, "loop": 40.0}
    detail = {
        "guarantee": "exactly_once",
        "workload": "1KB events",
        "events_per_s": 20_000,
        "events_per_step": 2000,
        "us_per_event": spent,
        "cores": {"worker": 0.8, "others": 0.02},
    }
    made = {"value": 60.0, "unit": "µs", "command": "c", "code_commit": "0" * 40, "date": "d", "machine": "m"}
    page = report.render({"profile.us_per_event.1KB": {**made, "detail": detail}})
    assert all(f"| {says} | " in page for says in STAGES.values())
    assert "| 20,000, 2,000 |" in page
    assert f"| {STAGES['loop']} | 40.0 |" in page
    waited = {**detail, "us_per_event": spent | {"fold": 70.0}}
    page = report.render({"profile.us_per_event.1KB": {**made, "detail": waited}})
    assert f"| {STAGES['loop']} | not known" in page


def test_nothing_folded_is_no_profile() -> None:
    same = look(0.0, 10, {MAIN: 1.0}, 0.0, 0.0)
    with pytest.raises(NotMeasurable):
        stages(same, same, pid=10)


def test_the_threads_of_a_process_are_those_the_system_has() -> None:
    before, began = threads(os.getpid()), time.thread_time()
    while time.thread_time() < began + 0.3:
        pass
    after = threads(os.getpid())
    main = next(thread for thread in after if thread[0] == os.getpid())
    assert after[main] - before[main] == pytest.approx(0.3, abs=0.1)
    assert sum(after.values()) <= sum(os.times()[:2]) + 0.1, "threads that have ended are not among them"
