"""import tau-bench: recorded runs of tau-bench agents as workflows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from replayer.commands import output
from replayer.commands.failures import CommandFailed, Exit
from replayer.commands.options import ArtefactDir, Broker, Json

if TYPE_CHECKING:
    from replayer.core.taubench import Imported, Origin

#: A file of runs is read whole; the largest published one has some 50 MB.
MAX_BYTES = 1 << 30


def tau_bench(
    file: Annotated[Path, Parameter(help="a JSON list of runs, .json or .json.gz")],
    /,
    *,
    tenant: Annotated[str, Parameter(help="whose workflows they become")] = "tau-bench",
    dataset: Annotated[str | None, Parameter(help="begins every workflow id [default: the file's name]")] = None,
    provider: Annotated[str, Parameter(help="whose model acted")] = "openai",
    model: Annotated[str, Parameter(help="which model acted")] = "gpt-4o",
    artefact_dir: ArtefactDir = None,
    broker: Broker = None,
    json: Json = False,
) -> int:
    """Publish recorded tau-bench runs as workflows, one each.

    Every id is derived: imported again they are duplicates, which timelines drop and count.

    Texts go to the artefact store; events refer to them by SHA-256. Messages carry no timestamps, so the clock is made
    up, the same every time: task t of trial r begins r days and 10·t minutes after 2024-05-15T20:00Z, message i comes
    i seconds later.
    """
    from replayer.commands.publishing import Parcel, publish
    from replayer.core.outcome import Send
    from replayer.core.taubench import Origin
    from replayer.settings import load
    from replayer.storage.artefacts import ArtefactStore
    from topics.events import topic_of, wire

    name = dataset or file.name.removesuffix(".gz").removesuffix(".json")
    if not 1 <= len(name) <= 80 or "\0" in name:
        raise CommandFailed(
            "The dataset's name must have 1 to 80 characters: give a shorter one with --dataset.", Exit.USAGE
        )
    settings = load(broker=broker, artefact_dir=artefact_dir)
    runs = _runs(file)
    workflows = _workflows(runs, Origin(name, tenant, provider, model))
    with output.progress("publishing") as bar:
        task = bar.add_task("events", total=sum(len(workflow.events) for workflow in workflows))
        report = publish(
            (
                Parcel(
                    Send(topic_of(event.event_type), event.workflow_id.encode(), wire(event)),
                    workflow.artefacts if first else (),
                )
                for workflow in workflows
                for first, event in _firsts(workflow)
            ),
            settings,
            store=ArtefactStore(settings.artefact_dir),
            advance=lambda count: bar.advance(task, count),
        )
    answer = {
        "dataset": name,
        "tenant_id": tenant,
        "workflows": len(workflows),
        "messages": sum(len(run["traj"]) for run in runs),
        "events": report.records,
        "by_topic": report.by_topic,
        "artefacts": report.artefacts,
        "artefact_dir": str(settings.artefact_dir),
        "seconds": report.seconds,
        "interrupted": report.interrupted,
    }
    if json:
        output.say_json(answer)
    else:
        output.say(
            f"{answer['workflows']} workflows, {answer['messages']} messages, {answer['events']} events, "
            f"{answer['artefacts']} artefacts in {report.seconds:.1f} s.\n"
            f"See one: replayer timeline {workflows[0].workflow_id} --tenant {tenant}"
        )
    return Exit.INTERRUPTED if report.interrupted else Exit.OK


def _firsts(workflow: Imported) -> Any:
    """Its events, the first one marked: with it the workflow's artefacts are stored."""
    return ((number == 0, event) for number, event in enumerate(workflow.events))


def _workflows(runs: list[Any], origin: Origin) -> list[Imported]:
    """All of them, before anything is published: a file with one bad run publishes none."""
    from replayer.core.errors import InvalidRun
    from replayer.core.taubench import imported

    workflows: dict[str, Imported] = {}
    with output.progress("reading") as bar:
        for number, run in enumerate(bar.track(runs, description="runs")):
            try:
                workflow = imported(run, origin)
            except InvalidRun as refused:
                raise InvalidRun(f"Run {number} of the file: {refused}. Nothing was published.") from None
            if workflow.workflow_id in workflows:
                raise InvalidRun(
                    f"Run {number} of the file has the task_id and trial of one before it. Nothing was published."
                )
            workflows[workflow.workflow_id] = workflow
    return list(workflows.values())


def _runs(file: Path) -> list[Any]:
    import gzip
    import json
    import zlib

    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
            raw = opened.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "it is no whole gzip file"
        raise CommandFailed(f"{file} cannot be read: {reason}.", Exit.USAGE) from error
    if len(raw) > MAX_BYTES:
        raise CommandFailed(f"{file} holds more than {MAX_BYTES >> 20} MiB: split it.", Exit.USAGE)
    try:
        runs = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise CommandFailed(f"{file} is not JSON.", Exit.USAGE) from error
    if not isinstance(runs, list) or not runs:
        raise CommandFailed(f"{file} must hold a JSON list of runs, and at least one.", Exit.USAGE)
    return runs
