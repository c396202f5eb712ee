"""One run: a recipe, a seed, a guarantee; what was found wrong when it was over."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from replayer.core.faults import Emission
from replayer.kafka.partitioner import partition_of
from tests.chaos.brokerside import PARTITIONS
from tests.chaos.checker import check
from tests.chaos.cluster import Cluster
from tests.chaos.feed import Feed
from tests.chaos.history import History
from tests.chaos.mutants import pausing
from tests.chaos.workload import Workload
from tests.e2e.roles import Role, until


def by_key(emission: Emission) -> int:
    """Where a producer that keeps to the rule sends a record."""
    return partition_of(emission.key, PARTITIONS)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A way to treat a cluster badly: `act` does it, while the feed goes on.

    `expects`: what must hold, by guarantee. `only_events`: the guarantees in which that is less than all of it (see
    `check`). `raises`: the records on which the fold of `module` is made to raise. `may_end`: workers are made to end
    by themselves.
    """

    name: str
    act: Callable[[Trial], None]
    expects: Mapping[str, str]
    workload: Callable[[int], Workload] = Workload
    workers: int = 2
    begin: int | None = None  # with how many of them; all
    rate: float = 4_000.0
    patience_s: float = 120.0  # for what is left to fold at the end
    transaction: int | None = None
    route: Callable[[Emission], int] = by_key
    raises: Callable[[bytes | None], bool] = lambda _: False
    module: str = "replayer.cli"
    may_end: bool = False
    only_events: Collection[str] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Trial:
    """What a recipe acts on. `dice` are the run's own."""

    cluster: Cluster
    feed: Feed
    dice: random.Random
    events: int
    beyond: ExitStack  # what must be there until all is checked
    history: History
    asked: Path  # the file that asks a worker to stop at its pause point (tests/chaos/mutants)

    def strikes(self, count: int) -> Iterator[int]:
        """So many times in the middle of the load: who runs is ready, and records are under way."""
        share = self.events // (count + 1)
        for number in range(count):
            self.cluster.revive(*self.cluster.running)
            self.feed.reach(number * share + share // 2)
            self.feed.release((number + 1) * share)
            yield number

    def pause(self) -> Role:
        """The worker that stands at its pause point, in the middle of a step."""
        self.asked.touch()

        def standing() -> list[Role]:
            return [worker for worker in self.cluster.running if worker.stands_still()]

        until(lambda: bool(standing()), "a worker at its pause point")
        (found,) = standing()
        return found

    def victim(self) -> Role:
        """One of the workers that run."""
        return self.dice.choice(self.cluster.running)


def run(recipe: Recipe, seed: int, guarantee: str, directory: Path) -> list[str]:
    """Start a cluster, feed it, act, wait until it is quiet, check. Answers with the findings."""
    assert guarantee in recipe.expects
    workload = recipe.workload(seed)
    cluster = Cluster(
        directory,
        workers=recipe.workers,
        guarantee=guarantee,
        module=recipe.module,
        may_end=recipe.may_end,
        settings=recipe.settings,
        variables={pausing.VARIABLE: str(directory / "pause")},
        properties=recipe.properties,
    )
    with ExitStack() as beyond, cluster:
        feed = Feed(cluster.bootstrap, workload.emissions(), recipe.route, recipe.rate, recipe.transaction)
        cluster.start(*cluster.workers[: recipe.begin])
        feed.start()
        try:
            dice, history = random.Random(seed), History(cluster.bootstrap)
            recipe.act(Trial(cluster, feed, dice, workload.events, beyond, history, directory / "pause"))
            feed.finish()
            late, only_events = cluster.quiet(recipe.patience_s), guarantee in recipe.only_events
            return late + check(cluster, feed.sent, history, recipe.raises, only_events=only_events)
        finally:
            feed.stop()
            feed.write(directory / "feed.log")
