"""replay start, show: investigations, started over Kafka and watched over HTTP."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from replayer.commands import output
from replayer.commands.failures import CommandFailed, Exit
from replayer.commands.options import Broker, Json, Url
from replayer.commands.views import Views, views
from replayer.variables import USER

if TYPE_CHECKING:
    from rich.table import Table

    from replayer.settings import Settings
    from topics.commands import ReplayCommand

FINAL = ("COMPLETED", "FAILED", "CANCELLED")
#: How long a worker is asked whether a replay was accepted: it takes well under a second, unless nobody is at work.
ACCEPTANCE_S = 10.0
#: How long a replay may be PLANNED before somebody who waits is told what that may mean.
TAKEN_S = 30.0
ReplayId = Annotated[str, Parameter(name="ID", help="the replay's id")]
Wait = Annotated[bool, Parameter(negative="", help="until it has ended; exit code 1 unless it is COMPLETED")]
Timeout = Annotated[
    float | None, Parameter(validator=Number(gt=0), help="with --wait: at most so many seconds; exit code 1 then")
]


def start(
    *,
    workflow: Annotated[tuple[str, ...], Parameter(help="ids of workflows, any number of times", negative="")] = (),
    tenant: Annotated[str | None, Parameter(help="whose workflows they are")] = None,
    everything: Annotated[bool, Parameter(negative="", help="every event in the range instead")] = False,
    since: Annotated[
        datetime | None, Parameter(help="appended at or after this time [default: the log's beginning]")
    ] = None,
    until: Annotated[datetime | None, Parameter(help="appended before this time [default: what is there now]")] = None,
    name: Annotated[str, Parameter(help="ties the replay to its incident")],
    purpose: Annotated[str, Parameter(help="why it is done; kept with it")],
    replay_id: Annotated[str | None, Parameter(name="--id", help="letters, digits, . _ - [default: a new one]")] = None,
    requester: Annotated[str | None, Parameter(help="on whose behalf [default: the user name]")] = None,
    rate: Annotated[
        int | None, Parameter(validator=Number(gte=1), help="read at most so many records a second")
    ] = None,
    keep_group: Annotated[bool, Parameter(negative="", help="leave its consumer group when it has ended")] = False,
    wait: Wait = False,
    timeout: Timeout = None,
    url: Url = None,
    broker: Broker = None,
    json: Json = False,
) -> int:
    """Start a replay from historical offsets, in a consumer group of its own: the live consumers never notice.

    Its results go to replay-results. The same id again is the same replay; with another request it is refused, which is
    exit code 1. Where no worker can be asked, that is said, and the exit code is 0: the request stands in the log.
    """
    from replayer.settings import load

    settings = load(broker=broker)
    command = _command(
        workflow, tenant, everything, since, until, name, purpose, replay_id, requester, rate, keep_group
    )
    asked = views(url)  # refused before anything is sent
    _send(settings, command)
    unknown = _unknown(asked, command)
    if wait:
        try:
            answer = follow(asked, command.replay_id, timeout_s=timeout)
        except CommandFailed as failed:
            raise CommandFailed(f"Replay {command.replay_id} was asked for, but: {failed}", failed.code) from None
        if answer["spec"] is not None:
            _check_ours(answer, command)
        return _report(answer, json)
    if unknown is not None:
        output.complain(f"Whether replay {command.replay_id} is accepted is not known: {unknown}")
    if json:
        known = {"replay_id": command.replay_id, "command_id": command.command_id}
        output.say_json({**known, "accepted": True if unknown is None else None})
    else:
        output.say(
            f"Replay {command.replay_id} was {'accepted' if unknown is None else 'asked for'}: "
            f"replayer replay show {command.replay_id} --wait"
        )
    return Exit.OK


def show(
    replay_id: ReplayId, /, *, wait: Wait = False, timeout: Timeout = None, url: Url = None, json: Json = False
) -> int:
    """Show how a replay fares: its state, how far it is, and what of the asked-for range was there."""
    asked = views(url)
    if wait:
        return _report(follow(asked, replay_id, timeout_s=timeout), json)
    answer = asked.get("v1", "replays", replay_id)
    _print(answer, json)
    return Exit.OK


def follow(asked: Views, replay_id: str, *, unknown_s: float = 60.0, timeout_s: float | None = None) -> dict[str, Any]:
    """The replay once it has ended. Raises CommandFailed where it stays unknown for so long, or has not ended in time.

    One that nobody has begun after a while is waited for all the same, and that is said: it may have to wait its turn.
    """
    began = time.monotonic()
    unknown_s = min(unknown_s, timeout_s or unknown_s)
    answer: dict[str, Any] | None = None
    told = False
    with output.progress(f"replay {replay_id}") as bar:
        task = bar.add_task("asked for", total=None)
        while answer is None or answer["state"] not in FINAL:
            try:
                answer = asked.get("v1", "replays", replay_id)
            except CommandFailed as failed:
                if failed.code is not Exit.NOT_FOUND or time.monotonic() > began + unknown_s:
                    raise
            else:
                done = sum(
                    part["position"] - part["start"] for part in (answer["coverage"] or {}).get("partitions", ())
                )
                bar.update(task, description=answer["state"], completed=done, total=answer["total"] or None)
                if answer["state"] == "PLANNED" and not told and time.monotonic() > began + TAKEN_S:
                    told = True
                    output.complain(
                        f"Replay {replay_id} has not begun: all investigators are busy, or none runs "
                        "(`replayer investigator`). Still waiting."
                    )
                if timeout_s is not None and answer["state"] not in FINAL and time.monotonic() > began + timeout_s:
                    raise CommandFailed(
                        f"Replay {replay_id} is {answer['state']} after {timeout_s:g} s: it goes on by itself; "
                        f"`replayer replay show {replay_id} --wait` waits again."
                    )
            time.sleep(0.25)
    return answer


def _command(
    workflows: tuple[str, ...],
    tenant: str | None,
    everything: bool,
    since: datetime | None,
    until: datetime | None,
    name: str,
    purpose: str,
    replay_id: str | None,
    requester: str | None,
    rate: int | None,
    keep_group: bool,
) -> ReplayCommand:
    import secrets
    import uuid

    from pydantic import ValidationError

    from topics.commands import (
        BetweenTimes,
        FromEarliest,
        ReplayCommand,
        ReplaySpec,
        SelectEverything,
        SelectWorkflows,
        WorkflowRef,
    )

    if bool(workflows) == everything:
        raise CommandFailed("Say what to replay: --workflow ID (with --tenant), or --everything.", Exit.USAGE)
    if everything and tenant is not None:
        raise CommandFailed("--tenant goes with --workflow: --everything is of all tenants.", Exit.USAGE)
    if workflows and tenant is None:
        raise CommandFailed("--tenant: a workflow id means something only within its tenant.", Exit.USAGE)
    now = datetime.now(UTC)
    try:
        return ReplayCommand(
            command_id=str(uuid.uuid4()),
            replay_id=replay_id or f"r-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
            action="start",
            requester=requester or USER.read() or "unknown",
            requested_at=now,
            spec=ReplaySpec(
                name=name,
                purpose=purpose,
                selection=SelectEverything()
                if everything
                else SelectWorkflows(
                    workflows=tuple(WorkflowRef(tenant_id=tenant or "", workflow_id=one) for one in workflows)
                ),
                range=FromEarliest(end=_utc(until))
                if since is None
                else BetweenTimes(start=_utc(since) or now, end=_utc(until)),
                records_per_second=rate,
                keep_group=keep_group,
            ),
        )
    except ValidationError as refused:
        problem = refused.errors(include_url=False, include_input=False, include_context=False)[0]
        # Without a place: a rule between --since and --until, the only fields that have one.
        where = ".".join(map(str, problem["loc"])) or "--since and --until"
        raise CommandFailed(f"{where}: {problem['msg'].removeprefix('Value error, ')}.", Exit.USAGE) from None


def _utc(moment: datetime | None) -> datetime | None:
    """Without an offset, a time is UTC."""
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def _send(settings: Settings, command: ReplayCommand) -> None:
    from replayer.commands.publishing import Parcel, publish
    from replayer.core.outcome import Send
    from topics.catalogue import REPLAY_COMMANDS
    from topics.commands import encode_command

    record = Send(REPLAY_COMMANDS.name, command.key, encode_command(command))
    if publish([Parcel(record)], settings, store=None).interrupted:
        raise KeyboardInterrupt


def _unknown(asked: Views, command: ReplayCommand) -> str | None:
    """Why it is not known whether the command was accepted; None: it was. Raises CommandFailed where it is refused.

    Asked after it was published, not before: of two requests under one id the log's order decides.
    """
    deadline = time.monotonic() + ACCEPTANCE_S
    while time.monotonic() < deadline:
        try:
            answer = asked.get("v1", "replays", command.replay_id)
        except CommandFailed as failed:
            if failed.code is not Exit.NOT_FOUND:
                return str(failed)
        else:
            if answer["spec"] is not None:  # else only its progress has been seen yet
                _check_ours(answer, command)
                return None
        time.sleep(0.1)
    return f"no worker has seen the request within {ACCEPTANCE_S:.0f} s."


def _check_ours(answer: dict[str, Any], command: ReplayCommand) -> None:
    """Raises CommandFailed where the replay of this id is another one; see `ReplayCommand.content`."""
    spec = command.spec.model_dump(mode="json") if command.spec is not None else None
    if (answer["spec"], answer["requester"]) != (spec, command.requester):
        raise CommandFailed(
            f"Replay {command.replay_id} exists with another request ({answer['name']}, asked for by "
            f"{answer['requester']}), so this one is refused: choose another --id."
        )


def _report(answer: dict[str, Any], json: bool) -> int:
    _print(answer, json)
    return Exit.OK if answer["state"] == "COMPLETED" else Exit.FAILED


def _print(answer: dict[str, Any], json: bool) -> None:
    if json:
        output.say_json(answer)
        return
    console = output.stdout()
    console.print(described(answer))
    if (answer["coverage"] or {}).get("partitions"):
        console.print(_coverage(answer["coverage"]["partitions"]))
    if answer["results"] is not None:
        output.say(f"Its results: replayer replay results {answer['replay_id']}")


def described(answer: dict[str, Any]) -> Table:
    """A replay as a table of two columns, what is absent left out."""
    from replayer.commands.wording import duration

    lasted = None
    if answer["started_at"] and answer["ended_at"]:
        passed = datetime.fromisoformat(answer["ended_at"]) - datetime.fromisoformat(answer["started_at"])
        lasted = duration(passed.total_seconds() * 1000)
    complete = (answer["coverage"] or {}).get("complete")
    rows = [
        ("replay", answer["replay_id"]),
        ("state", answer["state"] + (" (being cancelled)" if answer["cancelling"] else "")),
        ("name", answer["name"]),
        ("purpose", answer["purpose"]),
        ("requester", answer["requester"]),
        ("read", f"{answer['read']} records of at most {answer['total']}"),
        ("matched", str(answer["matched"])),
        ("undecodable", str(answer["undecodable"]) if answer["undecodable"] else None),
        ("coverage", None if complete is None else "complete" if complete else "incomplete: see below"),
        ("digest", answer["digest"]),
        ("took", lasted),
        ("error", answer["error"]),
    ]
    return output.facts([(label, value) for label, value in rows if value])


def _coverage(partitions: list[dict[str, Any]]) -> Table:
    columns = ("topic", "partition", "from", "to", "done up to", "read", "matched", "beginning", "gaps")
    rows = [
        (
            part["topic"],
            *(str(part[name]) for name in ("partition", "start", "end", "position", "read", "matched")),
            part["head"].replace("_", " "),
            ", ".join(f"{gap['start']}-{gap['end']} {gap['reason']}" for gap in part.get("gaps", ())),
        )
        for part in partitions
    ]
    return output.table(columns, rows)
