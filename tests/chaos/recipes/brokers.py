"""Recipes against the broker."""

from __future__ import annotations

import time

from tests.chaos.promise import promised
from tests.chaos.trial import Recipe, Trial

_AWAY_S = 60.0


def _restart(trial: Trial) -> None:
    broker = trial.cluster.broker
    for number in trial.strikes(3):
        if number % 2:
            broker.restart()
        else:
            broker.kill()
            time.sleep(trial.dice.uniform(0.0, 2.0))
            broker.start()


def _away(trial: Trial) -> None:
    for _ in trial.strikes(1):
        trial.cluster.broker.stop()
        time.sleep(_AWAY_S)
        assert all(worker.running for worker in trial.cluster.workers), trial.cluster.tails()
        trial.cluster.broker.start()


RESTART = Recipe("broker killed and restarted", _restart, promised("no worker ends"))
AWAY = Recipe("broker stopped for 60 s", _away, promised("no worker ends, however long it takes"), strikes=1)
