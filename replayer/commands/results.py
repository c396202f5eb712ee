"""replay results: what a replay found, read from replay-results with a plain reader and checked against its end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from replayer.commands import output, wording
from replayer.commands.failures import CommandFailed, Exit
from replayer.commands.options import Broker, Json, Url
from replayer.commands.replay import ReplayId
from replayer.commands.views import views

if TYPE_CHECKING:
    from rich.table import Table

    from replayer.settings import Settings
    from topics.results import ReplayResult, TerminalRecord


def results(
    replay_id: ReplayId,
    /,
    *,
    limit: Annotated[int, Parameter(validator=Number(gte=0), help="rows of the table; --json has no limit")] = 50,
    url: Url = None,
    broker: Broker = None,
    json: Json = False,
) -> int:
    """Read the results of a replay that has ended, and check that they are all there: count and digest.

    --json: one JSON object a line, the last one the terminal record. Exit code 1 where the results do not add up.
    """
    from replayer.settings import load

    settings = load(broker=broker)
    replay = views(url).get("v1", "replays", replay_id)
    if replay["results"] is None:
        raise CommandFailed(
            f"Replay {replay_id} is {replay['state']} and has no results yet: replayer replay show {replay_id}"
        )
    tally = asyncio.run(_tell(settings, replay_id, replay["results"], limit=limit, json=json))
    if tally.terminal is None:
        raise CommandFailed(
            f"The results of replay {replay_id} do not end: it is {replay['state']}, or they have expired."
        )
    if wrong := tally.mismatch():
        raise CommandFailed(f"The results of replay {replay_id} do not add up: {wrong}.")
    if not json:
        output.say(tally.verdict())
    return Exit.OK


class Tally:
    """Counts results and adds up their digest, to be held against the terminal record."""

    def __init__(self) -> None:
        self.count = 0
        self.terminal: TerminalRecord | None = None
        self._digest = 0

    def add(self, record: ReplayResult | TerminalRecord) -> None:
        from topics.results import ReplayResult, add_digests, result_digest

        if not isinstance(record, ReplayResult):
            self.terminal = record
            return
        at = record.position
        share = result_digest(at.topic, at.partition, at.offset, record.sha256, at.index)
        self._digest = add_digests(self._digest, share)
        self.count += 1

    def mismatch(self) -> str | None:
        """Why these results are not the ones the terminal record ends, or None where they are."""
        from topics.results import digest_hex

        if self.terminal is None:
            return "the terminal record is missing"
        if self.count != self.terminal.count:
            return f"{self.count} of {self.terminal.count} are there"
        return None if digest_hex(self._digest) == self.terminal.digest else "their digest is another one"

    def verdict(self) -> str:
        """One line; the results must have added up."""
        if self.terminal is None:
            return "The results do not end."
        coverage = self.terminal.coverage
        held = "" if coverage is None else f", coverage {'complete' if coverage.complete else 'incomplete'}"
        return f"{self.terminal.state}: {self.count} results, digest {self.terminal.digest[:16]}… verified{held}."


class Summary:
    """What was found, workflow by workflow: the overview an investigation begins with."""

    def __init__(self) -> None:
        self._workflows: dict[tuple[str, str], dict[str, Counter[str]]] = {}

    def add(self, record: ReplayResult | TerminalRecord) -> None:
        from topics.results import ReplayResult

        if not isinstance(record, ReplayResult):
            return
        event, data = record.event, record.event.data or {}
        told = self._workflows.setdefault((event.tenant_id, event.workflow_id), {})
        for column, value in (
            ("events", "events"),
            ("prompts", wording.template(data.get("prompt_template"))),
            ("policy", data.get("outcome") if event.event_type == "policy.evaluated" else None),
            ("overridden", _override(data) if event.event_type == "workflow.human_override" else None),
            ("feedback", data.get("label") if event.event_type == "feedback.received" else None),
        ):
            if value:
                told.setdefault(column, Counter())[str(value)] += 1

    def table(self) -> Table:
        """One row a workflow."""
        columns = ("prompts", "policy", "overridden", "feedback")
        rows = [
            (tenant, workflow, str(told["events"]["events"]), *(_counted(told.get(column)) for column in columns))
            for (tenant, workflow), told in sorted(self._workflows.items())
        ]
        return output.table(("tenant", "workflow", "events", *columns), rows)


def _override(data: dict[str, Any]) -> str:
    return (
        f"{data.get('action', '')} ({data['reason_code']})" if data.get("reason_code") else str(data.get("action", ""))
    )


def _counted(found: Counter[str] | None) -> str:
    return ", ".join(f"{count}× {value}" if count > 1 else value for value, count in (found or Counter()).items())


async def _tell(settings: Settings, replay_id: str, location: dict[str, Any], *, limit: int, json: bool) -> Tally:
    """Print what is read, as it is read (JSON) or its beginning as a table."""
    from topics.results import ReplayResult

    tally, summary, shown = Tally(), Summary(), list[ReplayResult]()
    async for record in read(settings, replay_id, location):
        tally.add(record)
        summary.add(record)
        if json:
            output.say_line(record.model_dump_json(exclude_none=True))
        elif isinstance(record, ReplayResult) and len(shown) < limit:
            shown.append(record)
    if not json:
        show(shown)
        output.stdout().print(summary.table())
        if tally.count > limit:
            output.complain(f"only the first {limit} of {tally.count} results are shown; --limit shows more")
    return tally


async def read(
    settings: Settings, replay_id: str, location: dict[str, Any]
) -> AsyncIterator[ReplayResult | TerminalRecord]:
    """The replay's own records at that location, in the order written. Raises LogError."""
    from aiokafka import TopicPartition

    from replayer.kafka.connection import check_broker, client_arguments
    from replayer.kafka.reader import LogReader
    from topics.codec import Undecodable
    from topics.results import decode_result

    await check_broker(settings)
    span = {
        TopicPartition(location["topic"], location["partition"]): (location["first_offset"], location["end_offset"])
    }
    async with LogReader(settings.brokers, client_arguments(settings)) as reader:
        async for batch in reader.read(span):
            for record in batch.records:
                # Others' results stand among ours; one of ours that cannot be decoded shows in count and digest.
                value = decode_result(record.value) if record.key == replay_id.encode() else None
                if value is not None and not isinstance(value, Undecodable):
                    yield value


def show(found: Sequence[ReplayResult]) -> None:
    """Results as a table, in the order of the producers' clocks within each workflow."""
    ordered = sorted(
        found, key=lambda record: (record.event.tenant_id, record.event.workflow_id, record.event.occurred_at)
    )
    rows = [
        (
            f"{record.event.occurred_at:%Y-%m-%d %H:%M:%S.%f}"[:-3],
            record.event.workflow_id,
            f"{wording.sign(record.event.event_type)} {wording.word(record.event.event_type)}",
            wording.said(record.event.event_type, record.event.data),
            f"{record.position.topic}[{record.position.partition}]@{record.position.offset}",
        )
        for record in ordered
    ]
    output.stdout().print(output.table(("occurred (UTC)", "workflow", "what", "", "from"), rows))
