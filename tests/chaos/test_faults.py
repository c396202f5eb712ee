"""Nothing lost and nothing twice under faults: five recipes of those that `make soak` runs, each with 20,000 events."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.recipes.all import IN_EVERY_TEST_RUN
from tests.chaos.soak import Job
from tests.chaos.trial import Recipe, run

SEED = 1


@pytest.mark.parametrize("recipe", IN_EVERY_TEST_RUN, ids=lambda recipe: recipe.name)
def test_exactly_once(recipe: Recipe, directory: Path) -> None:
    """`run` itself finds fault with one that had fewer than 20,000 events acked, or fewer strikes than it says."""
    assert recipe.workload(SEED).events >= 20_000
    assert recipe.strikes >= 3
    with Job(recipe.name, "exactly_once", SEED, lambda _: []).told_again():
        findings = run(recipe, SEED, "exactly_once", directory)
        assert not findings, findings
