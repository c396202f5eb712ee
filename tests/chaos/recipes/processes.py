"""Recipes against the workers' processes."""

from __future__ import annotations

import time
from collections.abc import Mapping

from tests.chaos.brokerside import CHANGELOG
from tests.chaos.cluster import SETTINGS
from tests.chaos.mutants import counted, warm
from tests.chaos.promise import Promise, promised
from tests.chaos.trial import Recipe, Trial
from tests.e2e.roles import Role, until

SESSION_S = float(SETTINGS["SESSION_TIMEOUT_S"])
_KILLS, _EVERY_S, _UNREADY = 30, (0.3, 3.0), 2
_GIVEN, _READY = '"event": "assigned"', '"event": "ready"'  # between them it opens and recovers its partitions
_SOON_S = 0.05
GRACE_S = float(SETTINGS["STOP_GRACE_S"])


def kill(trial: Trial) -> None:
    for _ in trial.strikes(3):
        victim = trial.victim()
        victim.kill()
        if trial.dice.random() < 0.5:  # else it returns at once, as whom it was
            overtaken(trial)
        victim.start()


def _kill_on(trial: Trial) -> None:
    """By the clock, whoever it is and whatever it is at; and every third time the one that was started just now, while
    it recovers. It returns at once.
    """
    unready, victim = 0, trial.victim()
    for number in range(_KILLS):
        trial.feed.release((number + 1) * trial.events // (_KILLS + 1))
        if number % 3:
            time.sleep(trial.dice.uniform(*_EVERY_S))
            victim = trial.victim()
        else:
            until(lambda victim=victim: _GIVEN in victim.since_start(), "it is given partitions", victim.tail)
            time.sleep(trial.dice.uniform(0, _SOON_S))
            unready += _READY not in victim.since_start()
        victim.kill()
        victim.start()
        trial.struck += 1
    assert unready >= _UNREADY, f"only {unready} were killed while they recovered"


def overtaken(trial: Trial) -> None:
    """Others have taken over and folded what there is."""
    lagging = trial.cluster.folded()
    assert not lagging, f"nobody took over: {lagging}\n{trial.cluster.tails()}"


def _freeze(trial: Trial) -> None:
    """Twice in the middle of a transaction, once wherever it is. It ends, or is assigned anew; nothing else will do."""
    for number in trial.strikes(3):
        in_a_step = number % 2 == 0
        victim = trial.pause() if in_a_step else trial.victim()
        victim.pause()
        time.sleep(2 * SESSION_S)
        overtaken(trial)
        before = victim.log.stat().st_size
        victim.resume()
        until(lambda victim=victim, before=before: _settled(victim, before), "it ends or joins again", victim.tail)
        if in_a_step and trial.cluster.guarantee == "exactly_once":
            assert victim.exit_code == 1, f"the zombie was not fenced\n{victim.tail()}"
            assert "a step was not confirmed" in victim.since(before), victim.tail()
        trial.cluster.revive(victim)


def _settled(worker: Role, before: int) -> bool:
    return not worker.running or '"event": "assigned"' in worker.since(before)


def _roll(trial: Trial) -> None:
    """Each ends within its grace, with 0, and nothing it did is done again by whoever follows."""
    workers = trial.cluster.workers
    for number in trial.strikes(4):
        worker = workers[number % len(workers)]
        began = time.monotonic()
        assert worker.stop() == 0, worker.tail()
        assert time.monotonic() - began < GRACE_S, "it was ended hard"
        trial.cluster.start(worker)
    overtaken(trial)
    counts = counted.counts(trial.counts)
    assert counts["folded"] > trial.events // 2, f"few steps said what they came to: {counts}"
    assert counts["reprocessed"] == 0, f"{counts['reprocessed']} events were folded again"


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
    """Who takes over has kept a copy all along: nothing that was there before is left for it to read."""
    cluster, feed = trial.cluster, trial.feed
    for _ in trial.strikes(3):
        overtaken(trial)
        ends = {tp.partition: end for tp, end in cluster.ends_of(CHANGELOG).items()}
        before = warm.told(trial.counts)
        until(lambda ends=ends, before=before: _copied(trial, ends, len(before)), f"copies up to {ends}")
        owners = {one.partition: one.instance for one in before if one.used}
        named = trial.dice.choice(sorted(set(owners.values())))
        (victim,) = (worker for worker in cluster.workers if worker.instance == named)
        at = len(warm.told(trial.counts))
        feed.release(len(feed.sent) + trial.events // 16)
        victim.kill()
        overtaken(trial)
        cluster.await_ready(*cluster.running)
        heirs = {one.partition: one for one in reversed(warm.told(trial.counts)[at:]) if one.used}
        for number in (number for number, owner in owners.items() if owner == named):
            assert heirs[number].instance != named
            assert heirs[number].next >= ends[number] - 1, f"{heirs[number]} had no copy of what went up to {ends}"
        cluster.start(victim)


def _copied(trial: Trial, ends: Mapping[int, int], at: int) -> bool:
    """Whether a copy of each partition comes so far, as told since then; what ends a transaction is no row."""
    copies = {one.partition: one.next for one in warm.told(trial.counts)[at:] if not one.used}
    return all(copies.get(number, 0) >= end - 1 for number, end in ends.items())


KILL_9 = Recipe("kill -9", kill, promised("others take over, or it returns at once"))
FREEZE = Recipe(
    "SIGSTOP, CONT",
    _freeze,
    {
        "exactly_once": Promise("the zombie is fenced and ends, or was idle and rejoins"),
        "at_least_once": Promise("nobody is fenced", repeats=True, only_events=True),
    },
    module="tests.chaos.mutants.mid_transaction",
    may_end=True,
)
KILL_ON = Recipe(
    "kill -9 every few seconds",
    _kill_on,
    promised("recovered or not, whoever is killed returns at once"),
    strikes=_KILLS,
    workers=3,
)
ROLL = Recipe(
    "rolling restart",
    _roll,
    dict.fromkeys(
        ("exactly_once", "at_least_once"),
        Promise("each ends within its grace, with 0, and nothing it did is done again"),
    ),
    module="tests.chaos.mutants.counted",
)
SCALE = Recipe("1, 3, 1 workers", _scale, promised("who leaves ends with 0"), workers=3, begin=1)
PROMOTE = Recipe(
    "standby promotion",
    _promote,
    promised("each partition of the killed one goes to one that has a copy of it, and is read on from there"),
    workers=3,
    module="tests.chaos.mutants.warm",
    settings={"STANDBY_REPLICAS": "1"},
)
