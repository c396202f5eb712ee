"""The checker goes red when a promise is taken away from the product, and stays green when none is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.mutations import MUTATIONS, Mutation
from tests.chaos.soak import Job

SEED = 1


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_checker_sees_it(mutation: Mutation, directory: Path) -> None:
    complaints = mutation.complaints(SEED, directory)
    again = Job(mutation.name, "exactly_once", SEED, lambda _: []).again
    assert not complaints, f"{complaints}\nagain: {again}"
