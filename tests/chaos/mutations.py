"""The checker itself: with a promise of the product taken away it finds something; with none, nothing.

Each mutation patches the product from outside (tests/chaos/mutants), and is struck at a pause point, so that what goes
wrong does so in every run. The same strikes on the sound product are the control.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.promise import promised
from tests.chaos.recipes.processes import overtaken
from tests.chaos.trial import Recipe, Trial, run

STRIKES = 3


def killed_in_the_middle(trial: Trial) -> None:
    for _ in trial.strikes(STRIKES):
        worker = trial.pause()
        worker.kill()
        worker.start()


def overtaken_in_the_middle(trial: Trial) -> None:
    """Others take over and fold on; then the one that slept goes on where it was."""
    for _ in trial.strikes(STRIKES):
        zombie = trial.pause()
        overtaken(trial)
        zombie.resume()


@dataclass(frozen=True, slots=True)
class Mutation:
    """`finds`: the beginnings of findings of which one at least must be there; none: nothing may be found."""

    name: str
    module: str
    act: Callable[[Trial], None]
    workers: int = 1
    guarantee: str = "exactly_once"
    finds: tuple[str, ...] = ()

    @property
    def expects(self) -> str:
        return f"the checker finds it: {' or '.join(self.finds)} ..." if self.finds else "nothing is found"

    def complaints(self, seed: int, directory: Path) -> list[str]:
        """What the checker should have found and did not, or found and should not have."""
        module = f"tests.chaos.mutants.{self.module}"
        recipe = Recipe(
            self.name,
            self.act,
            promised(self.expects),
            workers=self.workers,
            module=module,
            may_end=True,
            patience_s=20.0,
        )
        found = run(recipe, seed, self.guarantee, directory)
        if not self.finds:
            return found
        missed = not any(finding.startswith(self.finds) for finding in found)
        return [f"the checker is blind to it; it found {found[:3] or 'nothing'}"] if missed else []


IN_EVERY_TEST_RUN = (
    Mutation("control: killed in a step", "sound", killed_in_the_middle),
    Mutation("control: a zombie that is fenced", "sound", overtaken_in_the_middle, workers=2),
    Mutation("no deduplication", "no_dedupe", killed_in_the_middle, finds=("changelog: head of",)),
    Mutation(
        "offsets before their rows",
        "offsets_first",
        killed_in_the_middle,
        finds=("acked, and neither in a timeline nor in dead letters",),
    ),
    Mutation("no fencing", "no_fencing", overtaken_in_the_middle, workers=2, finds=("offsets:",)),
)
MUTATIONS = (
    *IN_EVERY_TEST_RUN,
    Mutation("control: killed in a step, folded in Python", "sound_in_python", killed_in_the_middle),
    Mutation("ids that are not known again", "forgets_ids", killed_in_the_middle, finds=("changelog: head of",)),
    Mutation("rows that are not stored", "forgets", killed_in_the_middle, finds=("views of",)),
    Mutation("dead letters twice", "buries_twice", killed_in_the_middle, finds=("twice in dead letters",)),
    Mutation(
        "rows before their dead letters",
        "letters_last",
        killed_in_the_middle,
        guarantee="at_least_once",
        finds=("acked, and neither in a timeline nor in dead letters", "index:"),
    ),
    Mutation("control: a torn step", "torn", killed_in_the_middle, guarantee="at_least_once"),
    Mutation(
        "positions of heads not believed",
        "no_positions",
        killed_in_the_middle,
        guarantee="at_least_once",
        finds=("changelog: head of",),
    ),
)
