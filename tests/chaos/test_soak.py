"""The soak itself: what it runs, for how long, and what it says when something is found."""

from __future__ import annotations

import io
import shlex

from rich.console import Console

from tests.chaos import soak
from tests.chaos.recipes.all import RECIPES
from tests.chaos.soak import Job, jobs, play


def played(keep, seconds, work=lambda _: []):
    said = io.StringIO()

    def of_a_seed(seed):
        return [Job(name, "exactly_once", seed, work) for name in ("one", "two")]

    ended = list(play(of_a_seed, 7, seconds, Console(file=said, width=200), keep))
    return ended, said.getvalue()


def test_every_recipe_says_what_it_expects_in_each_guarantee():
    assert all(set(recipe.expects) == {"exactly_once", "at_least_once"} for recipe in RECIPES)
    assert len(jobs(1, None, None)) > 2 * len(RECIPES)
    texts = [str(recipe.expects["exactly_once"]) for recipe in RECIPES]
    assert len(set(texts)) == len(texts), "one says no more than another"
    assert all(job.expects for job in jobs(1, None, None))


def test_a_seed_is_played_once_where_no_time_is_asked_for(tmp_path):
    ended, said = played(tmp_path, 0.0)
    assert [(one.job.name, one.job.seed) for one in ended] == [("one", 7), ("two", 7)]
    assert "[2 of 2] two, exactly_once, seed 7: ok in 0 s" in said
    assert "again" not in said
    assert list(tmp_path.iterdir()) == []


def test_derived_seeds_follow_until_the_time_is_over(monkeypatch, tmp_path):
    clock = iter(range(1_000))
    monkeypatch.setattr(soak, "monotonic", lambda: float(next(clock)))
    ended, _ = played(tmp_path, 15.0)
    assert [one.job.seed for one in ended] == [7, 7, 1_007, 1_007, 2_007]


def test_what_fails_says_how_it_is_played_again(tmp_path):
    def burst(_):
        raise OSError("no disk\nand more")

    ended, said = played(tmp_path, 0.0, burst)
    assert [one.findings for one in ended] == [["OSError: no disk"]] * 2
    assert "1 findings in 0 s\nOSError: no disk\nlogs: " in said
    assert "\nagain: .venv/bin/python -m tests.chaos.soak --only one" in said
    assert len(list(tmp_path.iterdir())) == 2


def test_the_command_names_one_run():
    for job in jobs(3, None, None):
        words = shlex.split(job.again)
        only, guarantee, seed = (words[words.index(name) + 1] for name in ("--only", "--guarantee", "--seeds"))
        (found,) = jobs(int(seed), [only], guarantee)
        assert (found.name, found.guarantee, found.seed) == (job.name, job.guarantee, job.seed)


def test_part_of_a_name_is_enough():
    assert {job.name for job in jobs(1, ["broker"], "exactly_once")} == {
        "broker killed and restarted",
        "broker stopped for 60 s",
    }
