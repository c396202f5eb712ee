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
    assert recipe.workload(SEED).events >= 20_000
    findings = run(recipe, SEED, "exactly_once", directory)
    again = Job(recipe.name, "exactly_once", SEED, lambda _: []).again
    assert not findings, f"{findings}\nagain: {again}"
