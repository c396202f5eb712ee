"""The line through a worker's memory, and how it is drawn."""

from __future__ import annotations

import random

import pytest

from benchmarks.memory import at_marks, line, thinned
from benchmarks.rate import Sample
from benchmarks.report import sparkline


def wobbling(slope: float, scatter: float) -> list[tuple[float, float]]:
    chance = random.Random(1)
    return [(n / 100, 400 + slope * n / 100 + chance.gauss(0, scatter)) for n in range(1000)]


def test_a_straight_line_is_found() -> None:
    found = line([(float(n), 100 + 2.5 * n) for n in range(41)])
    assert found.slope == pytest.approx(2.5)
    assert found.rise == pytest.approx(100)
    assert found.scatter == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("slope", [-5.0, 5.0])
def test_what_grows_or_shrinks_lies_outside_the_noise_and_what_wobbles_within(slope: float) -> None:
    assert line(wobbling(0.0, 8.0)).over_noise < 1
    assert line(wobbling(slope, 8.0)).over_noise > 1
    assert line(wobbling(slope, 8.0)).slope == pytest.approx(slope, abs=0.5)


def test_a_leak_that_is_smaller_than_the_samples_scatter_is_found() -> None:
    """Over 10⁷ events half a MB per 10⁶ is 5 MB: less than samples scatter, and more than their means may."""
    assert line(wobbling(0.5, 4.0)).over_noise > 1


def test_samples_that_say_the_same_do_not_count_for_many() -> None:
    """A saw-tooth, as flushes make it, has long runs above and below: a line through them knows little."""
    teeth = [(n / 100, 400 + (n % 250) / 10) for n in range(1000)]
    assert line(teeth).over_noise < 1


def test_too_little_for_a_line_is_no_line() -> None:
    gap = [(float(n // 20 * 90 + n % 20 / 20), 1.0) for n in range(40)]
    for points in ([], [(1.0, 1.0), (2.0, 2.0)], [(1.0, float(n)) for n in range(40)], gap):
        with pytest.raises(ValueError):
            line(points)


def test_memory_is_read_at_the_first_sample_behind_a_mark() -> None:
    samples = [Sample(at, committed, 0.0, int(at * 2**20)) for at, committed in ((1, 0), (2, 250), (3, 600), (4, 1000))]
    assert at_marks(samples, (250, 500, 1000, 2000)) == {250: 2 * 2**20, 500: 3 * 2**20, 1000: 4 * 2**20}


def test_a_plot_has_few_points_and_ends_where_the_samples_end() -> None:
    points = [(float(n), float(n)) for n in range(1000)]
    kept = thinned(points, 60)
    assert 50 <= len(kept) <= 60
    assert kept[-1] == points[-1]
    assert kept == sorted(kept)
    assert thinned(points[:5], 60) == points[:5]


def test_a_sparkline_goes_from_the_least_to_the_greatest() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([5, 5, 5]) == "▁▁▁"
