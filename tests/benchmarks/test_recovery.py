"""The arithmetic of recovery, and how its times are read."""

from __future__ import annotations

import pytest

from benchmarks.recovery import announcements, between, per_row
from benchmarks.scrape import samples, value


def line(event: str, second: float) -> str:
    return f'{{"event": "{event}", "timestamp": "2026-01-01T00:00:{second:09.6f}Z"}}\n'


def test_a_row_costs_what_is_beyond_the_recovery_of_nothing() -> None:
    assert per_row([3.0, 2.0, 9.0], [1.0, 0.5, 1.5], 100_000) == pytest.approx(20.0)


def test_a_recovery_lasts_from_the_last_assignment_to_the_readiness_behind_it() -> None:
    log = "no JSON\n[1]\n" + line("assigned", 1) + line("other", 2) + line("assigned", 3) + line("ready", 4.5)
    assert between(log, "assigned", "ready") == pytest.approx(1.5)
    assert between(log + line("ready", 9), "assigned", "ready") == pytest.approx(1.5)
    for without in ("", line("ready", 1) + line("assigned", 2)):
        with pytest.raises(ValueError, match="no 'assigned' with a 'ready'"):
            between(without, "assigned", "ready")


def test_the_first_announcement_of_each_kind_counts() -> None:
    log = "\x1b[?25lbench assigned 10.5\nsomething else\nbench recovered 12.25\nbench recovered 99.0\n"
    assert announcements(log) == {"assigned": 10.5, "recovered": 12.25}


def test_a_metric_is_added_up_over_the_labels_nobody_named() -> None:
    text = 'a_total{t="x",p="0"} 2.0\na_total{t="x",p="1"} 3.0\na_total{t="y",p="0"} 5.0\nb 7.0\n'
    told = samples("# TYPE a counter\n" + text.replace("b 7.0", "# TYPE b gauge\nb 7.0"))
    assert value(told, "a_total") == 10.0
    assert value(told, "a_total", t="x") == 5.0
    assert value(told, "a_total", t="x", p="1") == 3.0
    assert value(told, "b") == 7.0
    assert value(told, "c") == 0.0
