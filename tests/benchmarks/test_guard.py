"""The guard goes red when a ratio has lost a third, and not before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.check import CHECKED, guarded
from benchmarks.guard import compared, table


def entry(ratio: float) -> dict[str, float]:
    return {"ratio": ratio}


@pytest.mark.parametrize(("now", "failed"), [(9.0, True), (6.0, True), (6.01, False), (8.9, False), (30.0, False)])
def test_a_ratio_that_has_lost_a_third_fails(now: float, failed: bool) -> None:
    recorded = 9.0 if now != 9.0 else 14.0
    (verdict,) = compared({"x": entry(recorded)}, {"x": entry(now)}, ["x"])
    assert verdict.failed == failed
    assert ("FAILED" in table([verdict])) == failed
    assert verdict.kept == pytest.approx(now / recorded)


def test_a_figure_that_was_not_measured_fails() -> None:
    (lost,) = compared({"lost": entry(2.0)}, {}, ["lost"])
    assert lost.failed


def test_a_figure_that_is_not_recorded_fails_unless_it_awaits_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.guard.AWAITED", frozenset({"awaited"}))
    missing, awaited = compared({}, {"missing": entry(3.0), "awaited": entry(3.0)}, ["missing", "awaited"])
    assert missing.failed
    assert "FAILED: not recorded" in missing.row()
    assert not awaited.failed
    assert awaited.row().endswith("not recorded")


def test_every_figure_has_a_row_with_recorded_now_and_their_ratio() -> None:
    text = table(compared({"a": entry(10.0), "b": entry(4.0)}, {"a": entry(5.0), "b": entry(5.0)}, ["a", "b"]))
    header, first, second = text.splitlines()
    assert header.split() == ["figure", "recorded", "now", "now/rec."]
    assert first.split() == ["a", "10", "5", "0.5", "FAILED"]
    assert second.split() == ["b", "4", "5", "1.25", "ok"]


def test_the_command_ends_with_one_when_a_ratio_has_dropped_by_a_third(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    before.write_text(json.dumps({name: entry(9.0) for name in CHECKED}), "utf-8")
    after.write_text(json.dumps({name: entry(8.0) for name in CHECKED}), "utf-8")
    assert guarded(before, after, CHECKED) == 0
    after.write_text(json.dumps({name: entry(6.0 if name == CHECKED[0] else 9.0) for name in CHECKED}), "utf-8")
    assert guarded(before, after, CHECKED) == 1
    assert f"{CHECKED[0]:42}         9         6     0.667  FAILED" in capsys.readouterr().out
