"""Figures are recorded with what made them, and RESULTS.md says what results.json says. No benchmark runs here."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

from benchmarks import report
from benchmarks.materialise import CONTENDERS, RATIOS
from benchmarks.named import AWAITED, NAMED, Named
from benchmarks.results import RESULTS, Figure, Results, load

ENTRY = {"unit", "command", "code_commit", "machine", "date"}


def test_the_report_is_in_step_with_the_results() -> None:
    assert report.REPORT.read_text("utf-8") == report.render(load(RESULTS)), "run: python -m benchmarks.report"


def test_every_recorded_figure_says_how_it_was_made() -> None:
    for name, entry in load(RESULTS).items():
        assert entry.keys() >= ENTRY, name
        assert ("ratio" in entry) != ("value" in entry), name
        assert entry["command"].startswith("python -m benchmarks."), name
        date.fromisoformat(entry["date"])


def test_the_committed_results_are_fit_to_be_read() -> None:
    """But for what awaits its first measurement, which the page says; recorded, it awaits no more."""
    recorded = load(RESULTS)
    awaited = sorted(f"{name}: nothing is recorded under this name" for name in AWAITED)
    assert sorted(report.unfit(recorded)) == awaited, "measure, or take what was measured out of named.AWAITED"
    page = report.render(recorded)
    assert all(f"`{name}`" in page.split("Not measured yet: ")[1].splitlines()[0] for name in AWAITED)


def test_what_nobody_can_make_again_is_unfit() -> None:
    made = {"ratio": 2.0, "unit": "x", "code_commit": "0" * 40, "command": "python -m benchmarks.run"}
    whole = {named.name: made for named in NAMED}
    assert report.unfit(whole) == []
    for spoilt in (
        {"code_commit": "0" * 40 + "+changes"},
        {"code_commit": "unknown"},
        {"ratio": None},
        {"ratio": 0.0},
        {"ratio": float("nan")},
        {"detail": {"rounds": []}},
        {"detail": {"rounds": [1.0, 2.0]}},
        {"detail": {"rounds": [1.0, 2.0, 3.0], "disturbed_cores": 1.2}},
    ):
        (reason,) = report.unfit({**whole, "latency.p99_ms": {**made, **spoilt}})
        assert reason.startswith("latency.p99_ms: ")
    (reason,) = report.unfit({name: entry for name, entry in whole.items() if name != "latency.p99_ms"})
    assert reason == "latency.p99_ms: nothing is recorded under this name"


def test_ratios_of_several_runs_are_unfit() -> None:
    made = {"ratio": 2.0, "unit": "x", "code_commit": "0" * 40, "command": "python -m benchmarks.run"}
    whole = {named.name: made for named in NAMED}
    assert report.unfit(whole) == []
    for of, name in (("1-KB", "materialise.vs_quix"), ("200-byte", "materialise.vs_quix_200b")):
        for later in ({"code_commit": "1" * 40}, {"command": "python -m benchmarks.run materialise"}):
            (reason,) = report.unfit({**whole, name: {**made, **later}})
            assert reason == f"materialise, {of} events: measured in 2 runs; ratios are of one"


def test_a_figure_replaces_its_former_self_and_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    Results("python -m benchmarks.run a", path).record(
        Figure("x.one", 1.23456, "x"), Figure("x.two", 98_765.0, "events/s")
    )
    Results("python -m benchmarks.run b", path).record(Figure("x.one", 2.0, "x", {"of": "ours / theirs"}))
    recorded = json.loads(path.read_text("utf-8"))
    assert recorded["x.one"]["ratio"] == 2.0
    assert recorded["x.one"]["command"].endswith(" b")
    assert recorded["x.one"]["detail"] == {"of": "ours / theirs"}
    assert recorded["x.two"]["value"] == 98_800.0  # three digits: no more is known
    assert recorded["x.two"]["command"].endswith(" a")
    assert all(entry.keys() >= ENTRY for entry in recorded.values())


def test_the_report_shows_figures_targets_rates_and_settings(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    detail = {
        "label": "plain Faust",
        "rounds": [1000.0, 1100.0, 1200.0],
        "cpu_us_per_event": 450.0,
        "broker_cpu_us_per_event": 90.0,
        "disturbed_cores": 0.02,
        "rss_mb": 170,
        "settings": {"producer_linger": 0.02},
        "workload": "1,000 events",
    }
    Results("python -m benchmarks.run", path).record(
        Figure("materialise.vs_faust", 19.0, "x"),
        Figure("materialise.vs_quix", 1.2, "x"),
        Figure("materialise.rate.1KB.faust", 1100.0, "events/s", detail),
        Figure("latency.p99_ms", 42.5, "ms"),
        Figure("memory.rss_mb_after_1m", 300.0, "MB"),
    )
    report.write(path, tmp_path / "RESULTS.md")
    page = (tmp_path / "RESULTS.md").read_text("utf-8")
    assert "| `materialise.vs_faust` | 19 × | ≥ 18 × (met) |" in page
    assert "| `materialise.vs_quix` | 1.2 × | ≥ 2 × (**not met**) |" in page
    assert "| plain Faust | 1,100 | 1,000, 1,100, 1,200 | 450 | 90 | 170 | 0.02 |" in page
    assert "`producer_linger=0.02`" in page
    assert "| `latency.p99_ms` | 42.5 ms |" in page
    assert "`python -m benchmarks.run`" in page


def test_a_target_is_held_against_what_was_measured_as_it_says() -> None:
    named = Named("latency.p99_ms", "", at_most=200.0, under={"events_per_s": 2000})
    fast, slow = ({"value": ms, "unit": "ms", "detail": {"events_per_s": 2000}} for ms in (199.0, 201.0))
    assert named.target(fast) == "≤ 200 ms (met)"
    assert named.target(slow) == "≤ 200 ms (**not met**)"
    assert named.target({**fast, "detail": {"events_per_s": 500}}) == "≤ 200 ms (measured under events_per_s 500)"
    ratio = Named("x.vs_y", "", at_least=2.0)
    assert [ratio.target({"ratio": number}) for number in (2.0, 1.99)] == ["≥ 2 × (met)", "≥ 2 × (**not met**)"]
    assert Named("x.y", "").target(fast) == ""


def test_a_slope_may_be_zero_or_below() -> None:
    made = {"ratio": 2.0, "unit": "x", "code_commit": "0" * 40, "command": "python -m benchmarks.run"}
    whole = {named.name: made for named in NAMED}
    for named in NAMED:
        reasons = report.unfit({**whole, named.name: {**made, "ratio": -0.5}})
        assert bool(reasons) != named.signed, named.name


def test_no_figure_is_no_page_of_figures() -> None:
    assert "No figure has been recorded yet" in report.render({})


def test_every_ratio_is_of_contenders_that_exist_and_is_reported() -> None:
    names = {contender.name for contender in CONTENDERS}
    shown = {named.name for named in NAMED}
    for name, ours, other in RATIOS:
        assert {ours, other} <= names
        assert {name, f"{name}_200b"} <= shown


def test_peers_are_compared_in_the_same_guarantee_and_keep_a_head_and_a_row_but_where_the_name_says_more() -> None:
    by_name = {contender.name: contender for contender in CONTENDERS}
    strict = {"exactly_once", "exactly-once", "exactly_once_v2"}
    for name, ours, other in RATIOS:
        if not name.startswith(("materialise.vs_kafka_streams", "materialise.vs_quix")):
            continue  # plain Faust and the limit have one guarantee
        theirs = by_name[other].settings
        guarantee = theirs.get("processing.guarantee", theirs.get("processing_guarantee"))
        assert (by_name[ours].settings["guarantee"] in strict) == (guarantee in strict) == ("_eos" in name), name
        assert theirs["rows"] == ("all" if "_same_rows" in name else "lean"), name
        if "kafka_streams" in name:
            assert theirs["cache_all"] != ("_tuned" in name), name
