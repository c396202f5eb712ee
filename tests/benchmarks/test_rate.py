"""The arithmetic behind every figure."""

from __future__ import annotations

import pytest

from benchmarks.latency import percentile
from benchmarks.rate import NotMeasurable, Sample, advances, enough, rate
from benchmarks.workload import named


def seen(*commits: tuple[float, int]) -> list[Sample]:
    """Samples at (second, committed). CPU seconds a second: the contender 1/2, the broker 1/5, others 1/10; 1 MB/s."""
    return [Sample(at, committed, at / 2, int(at * 2**20), at / 5, at / 10) for at, committed in commits]


def steady(per_second: int, until: float, step: float = 0.1) -> list[Sample]:
    return seen(*((n * step, int(n * step * per_second)) for n in range(int(until / step) + 1)))


def test_a_steady_contender_is_measured_at_its_rate() -> None:
    found = rate(steady(10_000, 20.0), warm_up_s=3.0, end=1_000_000)
    assert found.per_second == pytest.approx(10_000)
    assert found.cpu_us_per_event == pytest.approx(50.0)
    assert found.broker_cpu_us_per_event == pytest.approx(20.0)
    assert found.rss_mb == pytest.approx(20.0)
    assert found.disturbed == pytest.approx(0.1)


def test_the_warm_up_does_not_count() -> None:
    slow_start = seen((1.0, 10), (2.0, 20), (3.0, 30), (4.0, 1030), (5.0, 2030), (6.0, 3030))
    assert rate(slow_start, warm_up_s=2.0, end=10_000).per_second == pytest.approx(1000)


def test_waiting_at_the_end_of_the_log_does_not_count() -> None:
    drained = [*steady(1000, 10.0), *seen((60.0, 10_100))]
    assert rate(drained, warm_up_s=1.0, end=10_050).per_second == pytest.approx(1000)


def test_rare_commits_are_measured_from_commit_to_commit() -> None:
    """Polls between two commits see no progress: they must not count as idle time, nor as time at all."""
    polls = [Sample(at / 10, (at // 50) * 5000, 0.0, 0) for at in range(0, 210)]
    assert [sample.committed for sample in advances(polls)] == [5000, 10_000, 15_000, 20_000]
    assert rate(polls, warm_up_s=3.0, end=100_000).per_second == pytest.approx(1000)


def test_a_run_that_gives_no_slope_is_no_figure() -> None:
    for samples in ([], seen((1.0, 0)), seen((1.0, 10)), seen((1.0, 10), (2.0, 20), (3.0, 30))):
        with pytest.raises(NotMeasurable):
            rate(samples, warm_up_s=2.0, end=100)


def test_a_run_ends_with_a_commit_beyond_its_window_that_leaves_two_to_measure() -> None:
    told = {"warm_up_s": 3.0, "seconds": 5.0, "end": 1000}
    early = seen((0.0, 0), (1.0, 10), (4.5, 20), (8.0, 30))
    assert not enough(early, **told), "no commit beyond 9 s yet"
    assert enough([*early, *seen((9.0, 40))], **told)
    late = seen((0.0, 0), (1.0, 10), (9.5, 20))
    assert not enough(late, **told), "the only one behind the warm-up"
    assert enough([*late, *seen((17.0, 30))], **told)
    assert rate([*late, *seen((17.0, 30))], warm_up_s=3.0, end=1000).events == 10


def test_a_run_ends_at_the_end_of_the_log_or_when_nothing_comes_any_more() -> None:
    told = {"warm_up_s": 3.0, "seconds": 5.0, "end": 1000}
    assert not enough([], **told)
    assert enough(seen((1.0, 10), (2.0, 1000)), **told)
    assert not enough(seen((0.0, 0), (80.0, 0)), **told)
    assert enough(seen((0.0, 0), (91.0, 0)), **told), "it never began"
    assert not enough(seen((1.0, 10), (30.0, 10)), **told)
    assert enough(seen((1.0, 10), (32.0, 10)), **told), "it has stopped"


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(n) for n in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1.0)) == (50.0, 99.0, 100.0)
    assert percentile([7.0], 0.99) == 7.0
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_number_of_events_has_a_short_name() -> None:
    assert [named(count) for count in (250_000, 1_000_000, 2_500_000, 25)] == ["250k", "1m", "2500k", "25"]
