"""What an event costs by tenths."""

from __future__ import annotations

import pytest

from benchmarks.hot import flatness, tenths
from benchmarks.rate import NotMeasurable, Sample


def folding(cost_us: list[float], events: int = 1000, rate: float = 100.0) -> list[Sample]:
    """One sample for each event; `cost_us` by tenth."""
    samples, cpu = [Sample(0.0, 0, 1.0, 0)], 1.0
    for number in range(1, events + 1):
        cpu += cost_us[(number - 1) * 10 // events] / 1e6
        samples.append(Sample(number / rate, number, cpu, 0))
    return samples


def test_each_tenth_has_its_own_cost_and_rate() -> None:
    costs = [50.0, 40.0, 40.0, 40.0, 40.0, 40.0, 40.0, 40.0, 40.0, 80.0]
    found = tenths(folding(costs), 1000)
    assert [cost for cost, _ in found] == pytest.approx(costs)
    assert [rate for _, rate in found] == pytest.approx([100.0] * 10)


def test_polls_before_the_first_commit_are_no_part_of_it_but_its_begin() -> None:
    late = [Sample(-5.0, 0, 0.5, 0), *folding([10.0] * 10)]
    assert len(tenths(late, 1000)) == 10


def test_a_tenth_between_two_polls_is_no_figure() -> None:
    coarse = [sample for sample in folding([10.0] * 10) if sample.committed % 250 == 0]
    with pytest.raises(NotMeasurable):
        tenths(coarse, 1000)
    with pytest.raises(NotMeasurable):
        tenths(folding([10.0] * 10)[:900], 1000)


def test_one_burst_of_compaction_is_no_growth_and_a_slope_is() -> None:
    assert flatness([50.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 13.0, 10.0]) == pytest.approx(1.1)
    assert flatness([float(cost) for cost in range(10, 20)]) == pytest.approx(1.5)
