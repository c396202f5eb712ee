"""What must hold once a run is quiet, whatever was done to it. Every finding is a sentence; none: it holds."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set

from aiokafka import TopicPartition

from replayer.core.faults import Emission
from replayer.core.gaps import PREFIX, Gap
from replayer.core.rows import EVENT, HEAD
from replayer.kafka.admin import LogAdmin
from tests.chaos import commits, oracle, shelves
from tests.chaos.brokerside import APP, PARTITIONS
from tests.chaos.cluster import Cluster
from tests.chaos.feed import Fate, Sent
from tests.chaos.history import History
from tests.chaos.oracle import Expected
from tests.chaos.promise import Promise
from tests.chaos.seen import At, Name, Seen, from_rows, inconsistencies
from topics.catalogue import REPLAY_COMMANDS, REPLAY_PROGRESS

_FEW = 5
_LOOKS = 20


def check(
    cluster: Cluster,
    sent: Sequence[Sent],
    history: History,
    raises: Callable[[bytes | None], bool],
    buries: Callable[[Emission], bool],
    promise: Promise,
) -> list[str]:
    """All five checks, in turn, on a quiet cluster with a worker or more ready. Stops, wipes and restarts the workers.

    `raises`: records on which the workers' fold is made to raise. `buries`: what must be a dead letter, as whoever made
    it knows; the oracle, which reads with the product's own codec, must agree. `promise`: how much of this
    holds.

    1. every acked event is in a timeline, or in dead letters for its reason, once, and nothing is that was never
    sent; 2. timelines, heads and the index are the oracle's, heads agree with their rows; 3. committed offsets
    never went back and lie in the log; 4. rebuilt from the changelogs alone, the same; 5. each worker's views say
    the same.
    """
    expected, only_events = oracle.expected(history.records(), PARTITIONS, raises), promise.only_events
    tables, letters = cluster.rows(), cluster.letters()
    rows = {key: value for table in tables.values() for key, value in table.items()}
    found = from_rows(rows)
    findings = [
        *_everything_once(
            [one for one in sent if one.at not in history.expired],
            found,
            letters,
            expected,
            buries,
            repeats=promise.repeats,
        ),
        *_few("gaps", _untold(tables, history.expired)),
        *_few("changelog", _in_two_partitions(tables)),
        *_few("changelog", differences(expected.timelines, found, only_events)),
        *_few("changelog", () if only_events else inconsistencies(rows)),
        *_few("index", () if only_events else _misshelved(cluster, expected)),
        *_few("offsets", _offsets(cluster, only_events)),
    ]
    workers = cluster.running
    for worker, said in zip(workers, cluster.views_of(workers), strict=True):
        name = worker.instance
        findings += _few(f"views of {name}", differences(expected.timelines, said, only_events))
    findings += [f"a worker has ended meanwhile: {who}" for who in cluster.absent()]
    # Rebuilt from a log in which something is wrong it would be wrong again.
    return findings or _rebuilt(cluster, expected, only_events)


def _misshelved(cluster: Cluster, expected: Expected) -> list[str]:
    """What the index has otherwise, once it has had time to come behind the timelines."""
    wrong = [""]
    for _ in range(_LOOKS):
        if wrong:
            wrong = shelves.differences(expected.shelves, shelves.lasting(cluster.shelves()))
            time.sleep(0.5 if wrong else 0)
    return wrong


def _rebuilt(cluster: Cluster, expected: Expected, only_events: bool) -> list[str]:
    findings = [f"a worker ended with exit code {code} when it was told to stop" for code in cluster.stop() if code]
    for worker in cluster.workers:
        cluster.wipe(worker)
    survivor = cluster.workers[0]
    cluster.start(survivor)
    (said,) = cluster.views_of([survivor])
    return findings + _few("rebuilt", differences(expected.timelines, said, only_events))


def _everything_once(
    sent: Sequence[Sent],
    found: Mapping[Name, Seen],
    letters: Sequence[tuple[At, str]],
    expected: Expected,
    buries: Callable[[Emission], bool],
    *,
    repeats: bool,
) -> list[str]:
    ids = {(name, event_id) for name, seen in found.items() for event_id, _, _ in seen.events}
    acked = [one for one in sent if one.fate is Fate.ACKED]
    known = {_identity(one) for one in sent if one.fate is not Fate.FAILED}
    counted = Counter(at for at, _ in letters if at[0] not in (REPLAY_COMMANDS.name, REPLAY_PROGRESS.name))
    folded = {at for seen in found.values() for _, _, at in seen.events}
    lost = [one.at for one in acked if _identity(one) not in ids and one.at not in counted]
    doomed = [one.at for one in acked if buries(one.emission)]
    sound = [one for one in acked if not buries(one.emission)]
    reasons = {(at, why) for at, why in letters if at in expected.letters and why != expected.letters[at]}
    return [
        *_few("acked, and neither in a timeline nor in dead letters", lost),
        *_few("sound, and in dead letters", [one.at for one in sound if one.at in counted]),
        *_few("sound, and in no timeline", [one.at for one in sound if _identity(one) not in ids]),
        *_few("no event, and not in dead letters", [at for at in doomed if at not in counted]),
        *_few("in dead letters for another reason", reasons),
        *_few("in a timeline, and never sent", ids - known),
        *_few("dead letters that should not be", counted.keys() - expected.letters.keys()),
        *_few("not in dead letters", expected.letters.keys() - counted.keys()),
        *_few("twice in dead letters", () if repeats else [at for at, times in counted.items() if times > 1]),
        *_few("in a timeline and in dead letters", folded & counted.keys()),
        *_few("in a timeline, and in no log", folded - expected.held),
    ]


def _identity(one: Sent) -> tuple[Name, str]:
    emission = one.emission
    return (emission.tenant_id or "", emission.workflow_id or ""), emission.event_id or ""


def differences(expected: Mapping[Name, Seen], found: Mapping[Name, Seen], only_events: bool) -> list[str]:
    """Where timelines, or heads unless `only_events`, are not what they should be."""
    wrong = [f"{name} is missing" for name in expected.keys() - found.keys()]
    wrong += [f"{name} should not be" for name in found.keys() - expected.keys()]
    for name in expected.keys() & found.keys():
        here, there = expected[name], found[name]
        if here.events != there.events:
            wrong.append(f"{name}: {len(there.events)} events, not the {len(here.events)} expected in their order")
        if here.head != there.head and not only_events:
            fields = [field for field in here.head if here.head[field] != there.head.get(field)]
            wrong.append(f"{name}: its head differs in {', '.join(fields)}")
    return wrong


def _in_two_partitions(tables: Mapping[int, Mapping[bytes, bytes]]) -> list[str]:
    homes: dict[bytes, int] = {}
    return [
        f"a row of a workflow is in partitions {homes[key]} and {partition}"
        for partition, table in tables.items()
        for key in table
        if key.startswith((HEAD, EVENT)) and homes.setdefault(key, partition) != partition
    ]


def _untold(tables: Mapping[int, Mapping[bytes, bytes]], expired: Set[At]) -> list[str]:
    """What had expired unread is told as gaps, and nothing else is."""
    gaps = [
        (partition, Gap.from_row(key, value))
        for partition, table in tables.items()
        for key, value in table.items()
        if key.startswith(PREFIX)
    ]
    told = {(gap.topic, partition, offset) for partition, gap in gaps for offset in range(gap.start, gap.end)}
    return [f"{at} had expired unread and is not told" for at in expired - told] + [
        f"{at} is told as a gap and was there" for at in told - expired
    ]


def _offsets(cluster: Cluster, only_events: bool) -> list[str]:
    committed, all_of_them = cluster.committed(), asyncio.run(commits.commits(cluster.bootstrap, APP))
    last = {tp: offsets[-1] for tp, offsets in all_of_them.items() if offsets[-1] is not None}
    wrong = [] if last == committed else [f"{last} were committed last, and the group stands at {committed}"]
    wrong += [] if only_events else commits.steps_back(all_of_them)
    return wrong + asyncio.run(_outside(cluster.bootstrap, committed))


async def _outside(broker: str, committed: Mapping[TopicPartition, int]) -> list[str]:
    async with LogAdmin([broker]) as admin:
        begins, ends = await admin.begin_offsets(list(committed)), await admin.end_offsets(list(committed))
    return outside(committed, begins, ends)


def outside(
    committed: Mapping[TopicPartition, int], begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> list[str]:
    """Offsets that are committed and do not lie in their logs."""
    return [
        f"{tp.topic}[{tp.partition}] is committed at {offset}, its log is [{begins[tp]}, {ends[tp]})"
        for tp, offset in committed.items()
        if not begins[tp] <= offset <= ends[tp]
    ]


def _few(what: str, wrong: Iterable[object]) -> list[str]:
    """The first of them, and how many more."""
    all_of_it = [str(one) for one in wrong]
    shown = [f"{what}: {one}" for one in all_of_it[:_FEW]]
    return shown + ([f"{what}: and {len(all_of_it) - _FEW} more"] if len(all_of_it) > _FEW else [])
