"""The checker goes red when a promise is taken away from the product, and stays green when none is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.mutations import IN_EVERY_TEST_RUN, Mutation
from tests.chaos.soak import Job

SEED = 1


@pytest.mark.parametrize("mutation", IN_EVERY_TEST_RUN, ids=lambda mutation: mutation.name)
def test_the_checker_sees_it(mutation: Mutation, directory: Path) -> None:
    with Job(mutation.name, mutation.guarantee, SEED, lambda _: []).told_again():
        complaints = mutation.complaints(SEED, directory)
        assert not complaints, complaints
