"""One run: a recipe, a seed, a guarantee; what was found wrong when it was over."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from replayer.core.faults import Emission
from replayer.kafka.partitioner import partition_of
from tests.chaos.brokerside import PARTITIONS
from tests.chaos.checker import check
from tests.chaos.cluster import Cluster
from tests.chaos.feed import Fate, Feed
from tests.chaos.history import History
from tests.chaos.mutants import counted, pausing
from tests.chaos.promise import Promise
from tests.chaos.workload import EVENTS, Workload
from tests.e2e.roles import Role, until


def by_key(emission: Emission) -> int:
    """Where a producer that keeps to the rule sends a record."""
    return partition_of(emission.key, PARTITIONS)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A way to treat a cluster badly: `act` does it, while the feed goes on.

    `expects`: what must hold, by guarantee. `strikes`: how many it deals at least. `raises`: the records on which the
    fold of `module` is made to raise. `buries`: what must become a dead letter, whatever the product's own codec says.
    `may_end`: workers are made to end by themselves.
    """

    name: str
    act: Callable[[Trial], None]
    expects: Mapping[str, Promise]
    strikes: int = 3
    workload: Callable[[int], Workload] = Workload
    workers: int = 2
    begin: int | None = None  # with how many of them; all
    rate: float = 4_000.0
    patience_s: float = 120.0  # for what is left to fold at the end
    transaction: int | None = None
    route: Callable[[Emission], int] = by_key
    raises: Callable[[bytes | None], bool] = lambda _: False
    buries: Callable[[Emission], bool] = lambda emission: emission.kind == "poison"
    module: str = "replayer.cli"
    may_end: bool = False
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
    counts: Path  # where workers say what is to be counted, if the recipe's module has them do so
    struck: int = 0  # times

    def strikes(self, count: int) -> Iterator[int]:
        """So many times in the middle of the load: who runs is ready, and records are under way."""
        share = self.events // (count + 1)
        for number in range(count):
            self.cluster.revive(*self.cluster.running)
            self.feed.reach(number * share + share // 2)
            self.feed.release((number + 1) * share)
            yield number
            self.struck += 1

    def pause(self) -> Role:
        """The worker that stands at its pause point, in the middle of a step."""
        self.asked.touch()

        def standing() -> list[Role]:
            return [worker for worker in self.cluster.running if worker.stands_still()]

        until(lambda: bool(standing()), "a worker at its pause point")
        (found,) = standing()
        return found

    def victim(self) -> Role:
        """One of the workers, all of which run. The same one in every run with this seed."""
        victim = self.dice.choice(self.cluster.workers)
        assert victim.running, victim.tail()
        return victim


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
        variables={pausing.VARIABLE: str(directory / "pause"), counted.VARIABLE: str(directory / "counts")},
        properties=recipe.properties,
    )
    with ExitStack() as beyond, cluster:
        feed = Feed(cluster.bootstrap, workload.emissions(), recipe.route, recipe.rate, recipe.transaction)
        cluster.start(*cluster.workers[: recipe.begin])
        feed.start()
        try:
            history = History(cluster.bootstrap)
            trial = Trial(
                cluster, feed, random.Random(seed), workload.events, beyond, history, directory / "pause",
                directory / "counts",
            )  # fmt: skip
            recipe.act(trial)
            feed.finish()
            weak = too_weak(recipe, trial)
            late = cluster.quiet(recipe.patience_s)
            found = check(cluster, feed.sent, history, recipe.raises, recipe.buries, recipe.expects[guarantee])
            return weak + late + found
        finally:
            feed.stop()
            feed.write(directory / "feed.log")


def too_weak(recipe: Recipe, trial: Trial) -> list[str]:
    """What a run must have had to show anything: its events in the log, its faults."""
    fates = Counter(sent.fate for sent in trial.feed.sent)
    landed = fates[Fate.ACKED] + fates[Fate.GONE]
    weak = [f"{landed} of {trial.events} records were acked"] if landed < EVENTS <= trial.events else []
    weak += [f"{fates[Fate.FAILED]} records were refused"] if fates[Fate.FAILED] else []
    return weak + ([f"struck {trial.struck} times, not {recipe.strikes}"] if trial.struck < recipe.strikes else [])
