"""Recipes against the workers' processes."""

from __future__ import annotations

import time

from tests.chaos.cluster import SETTINGS
from tests.chaos.trial import Recipe, Trial

SESSION_S = float(SETTINGS["SESSION_TIMEOUT_S"])
GRACE_S = float(SETTINGS["STOP_GRACE_S"])

EXACT = {
    "exactly_once": "every event once; every dead letter once",
    "at_least_once": "every event once, for rows are idempotent; a dead letter may be repeated",
}


def kill(trial: Trial) -> None:
    for _ in trial.strikes(4):
        victim = trial.victim()
        victim.kill()
        time.sleep(trial.dice.choice([0.0, SESSION_S + 1]))  # it returns at once, or others have taken over
        victim.start()


def _freeze(trial: Trial) -> None:
    for _ in trial.strikes(3):
        victim = trial.victim()
        victim.pause()
        time.sleep(2 * SESSION_S)
        victim.resume()


def _roll(trial: Trial) -> None:
    for number in trial.strikes(4):
        worker = trial.cluster.workers[number % len(trial.cluster.workers)]
        began = time.monotonic()
        assert worker.stop() == 0, worker.tail()
        assert time.monotonic() - began < GRACE_S, "it was ended hard"
        trial.cluster.start(worker)
    repeated = sum(
        sum(worker.metrics("replayer_events_total", outcome="reprocessed")) for worker in trial.cluster.workers
    )
    assert repeated == 0, f"{repeated:.0f} events were folded again"


def _scale(trial: Trial) -> None:
    one, *others = trial.cluster.workers
    for number in trial.strikes(4):
        if number % 2 == 0:
            trial.cluster.start(*others)
        else:
            for worker in others:
                assert worker.stop() == 0, worker.tail()
    trial.cluster.start(*others)
    assert one.running


def _promote(trial: Trial) -> None:
    for _ in trial.strikes(3):
        victim = trial.victim()
        victim.kill()
        time.sleep(SESSION_S + 1)
        trial.cluster.await_ready(*trial.cluster.running)
        trial.cluster.start(victim)


KILL_9 = Recipe("kill -9", kill, EXACT)
FREEZE = Recipe(
    "SIGSTOP, CONT",
    _freeze,
    # At least once promises nothing of heads after a zombie.
    {"exactly_once": "every event once: the zombie is fenced and ends, or was idle and rejoins"},
    may_end=True,
)
ROLL = Recipe("rolling restart", _roll, EXACT)
SCALE = Recipe("1, 3, 1 workers", _scale, EXACT, workers=3, begin=1)
PROMOTE = Recipe("standby promotion", _promote, EXACT, workers=3, settings={"STANDBY_REPLICAS": "1"})
