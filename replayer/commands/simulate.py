"""simulate: publish the lifelike workload of `replayer.core.simulation`."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from replayer.commands import output
from replayer.commands.failures import CommandFailed, Exit
from replayer.commands.options import ArtefactDir, Broker, Json

if TYPE_CHECKING:
    from replayer.commands.publishing import Parcel
    from replayer.core.faults import Emission

Share = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]


def simulate(
    *,
    workflows: Annotated[int, Parameter(validator=Number(gte=0), help="how many cases; 0: until Ctrl-C")] = 100,
    rate: Annotated[
        float | None, Parameter(validator=Number(gt=0), help="events a second [default: as fast as they are taken]")
    ] = None,
    seed: Annotated[
        int | None, Parameter(help="the same seed and start give the same bytes [default: a new one]")
    ] = None,
    start: Annotated[
        datetime | None,
        Parameter(help="when the first case begins [default: 2026-01-05T09:00Z with --seed, now without]"),
    ] = None,
    tenants: Annotated[tuple[str, ...], Parameter(help="whose cases", consume_multiple=True, negative="")] = (
        "acme",
        "globex",
        "initech",
    ),
    duplicates: Annotated[Share, Parameter(help="share of events sent again later")] = 0.0,
    conflicts: Annotated[Share, Parameter(help="share sent again with the same id and another content")] = 0.0,
    disorder: Annotated[Share, Parameter(help="share held back, among the next 200 records")] = 0.0,
    skew: Annotated[Share, Parameter(help="share dated 90 seconds too early")] = 0.0,
    poison: Annotated[Share, Parameter(help="records that are no events, for each event")] = 0.0,
    artefacts: Annotated[bool, Parameter(help="store the texts the events refer to")] = True,
    artefact_dir: ArtefactDir = None,
    broker: Broker = None,
    json: Json = False,
) -> int:
    """Publish a support agent's cases: lifelike, deterministic for a seed, with faults if you like.

    Requests, plans, tool calls, retrievals, model invocations with two prompt-template versions, policy verdicts,
    overrides and feedback of several tenants, keyed by workflow ID.
    """
    from replayer.commands.publishing import publish
    from replayer.core.faults import Faults
    from replayer.settings import load
    from replayer.storage.artefacts import ArtefactStore

    settings = load(broker=broker, artefact_dir=artefact_dir)
    if not tenants or not all(1 <= len(tenant) <= 128 and "\0" not in tenant for tenant in tenants):
        raise CommandFailed("--tenants: give at least one, each of 1 to 128 characters.", Exit.USAGE)
    chosen = secrets.randbelow(2**31) if seed is None else seed
    start_us = _start_us(start, seeded=seed is not None)
    faults = Faults(duplicates, conflicts, disorder, skew, poison)
    told = Told()
    with output.progress("publishing") as bar:
        task = bar.add_task("events", total=None)
        report = publish(
            told.parcels(emissions(chosen, start_us, workflows or None, tenants, faults)),
            settings,
            store=ArtefactStore(settings.artefact_dir) if artefacts else None,
            rate=rate,
            advance=lambda count: bar.advance(task, count),
        )
    answer = {"seed": chosen, "start": rfc3339(start_us), **told.summary(), **asdict(report)}
    if json:
        output.say_json(answer)
    else:
        _show(answer)
    return Exit.INTERRUPTED if report.interrupted and workflows else Exit.OK


def emissions(
    seed: int, start_us: int, workflows: int | None, tenants: tuple[str, ...], faults: Any
) -> Iterator[Emission]:
    """The workload of a seed, with its faults. Ids are of this seed, start and tenants, and of no others."""
    import hashlib
    import random

    from replayer.core.faults import disturbed
    from replayer.core.simulation import Scenario, cases

    run = hashlib.sha256(f"{seed}/{start_us}/{'/'.join(tenants)}".encode()).hexdigest()[:6]
    scenario = Scenario(f"case-{run}", start_us, workflows, tenants)
    return disturbed(cases(random.Random(seed), scenario), random.Random(seed + 1), faults)


class Told:
    """Remembers what passed by on its way to the brokers."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.workflows: dict[str, str] = {}

    def parcels(self, emissions: Iterable[Emission]) -> Iterator[Parcel]:
        from replayer.commands.publishing import Parcel
        from replayer.core.outcome import Send

        for emission in emissions:
            self.kinds[emission.kind] += 1
            if emission.workflow_id and emission.tenant_id:
                self.workflows.setdefault(emission.workflow_id, emission.tenant_id)
            yield Parcel(Send(emission.topic, emission.key, emission.value), emission.artefacts)

    def summary(self) -> dict[str, Any]:
        first = next(iter(self.workflows.items()), None)
        return {
            "workflows": len(self.workflows),
            "first_workflow": {"workflow_id": first[0], "tenant_id": first[1]} if first else None,
            "by_kind": dict(self.kinds),
        }


def _start_us(start: datetime | None, *, seeded: bool) -> int:
    from datetime import UTC

    from topics.fields import micros

    if start is None:
        start = datetime(2026, 1, 5, 9, tzinfo=UTC) if seeded else datetime.now(UTC)
    if not 1970 <= start.year <= 9000:
        raise CommandFailed("--start: give a time between the years 1970 and 9000.", Exit.USAGE)
    return micros(start if start.tzinfo else start.replace(tzinfo=UTC))


def rfc3339(us: int) -> str:
    from topics import fields

    return fields.rfc3339(us)


def _show(answer: dict[str, Any]) -> None:
    rows = [(topic, str(count)) for topic, count in sorted(answer["by_topic"].items())]
    output.stdout().print(output.table(("topic", "records"), rows))
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(answer["by_kind"].items()))
    output.say(
        f"{answer['records']} records of {answer['workflows']} workflows in {answer['seconds']:.1f} s ({kinds})."
    )
    output.say(f"Seed {answer['seed']}, start {answer['start']}; {answer['artefacts']} artefacts.")
    if first := answer["first_workflow"]:
        output.say(f"See one: replayer timeline {first['workflow_id']} --tenant {first['tenant_id']}")
