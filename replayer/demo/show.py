"""The demo itself: start everything, feed it, wait until it is seen, show one timeline, run one investigation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from replayer.commands import output, rendering, results
from replayer.commands.failures import CommandFailed, Exit
from replayer.commands.publishing import Parcel, publish
from replayer.commands.replay import FINAL, described
from replayer.commands.views import Views
from replayer.core.outcome import Send
from replayer.demo.children import Child, stop_all
from replayer.demo.steps import Step
from replayer.demo.story import SEED, Workload, workload
from replayer.kafka.broker import EmbeddedBroker
from replayer.kafka.ports import free_port
from replayer.settings import Settings
from replayer.storage.artefacts import ArtefactStore
from replayer.variables import ours
from topics.commands import FromEarliest, ReplayCommand, ReplaySpec, SelectWorkflows, WorkflowRef, encode_command

HOST = "127.0.0.1"
REPLAY_ID = "demo-overrides"
_PATIENCE_S = 120.0


class Show:
    """Runs the demo below `directory`; what it starts is ended by `stack`."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self._stack, self._directory = stack, directory
        self._console = output.stdout()
        self._children: list[Child] = []
        self._settings: Settings
        self._views: Views
        self._told: Workload

    def all(self, workflows: int) -> None:
        """Everything, in order. Raises CommandFailed, LogError, StorageError, SettingsError."""
        if "REPLAYER_BROKER" in ours():
            output.complain("the demo brings its own Kafka and leaves the one REPLAYER_BROKER names alone")
        self._start_broker()
        self._start_roles()
        self._await_ready()
        self._feed(workflows)
        self._await_timelines()
        self._show_timeline()
        self._investigate()

    def check(self) -> None:
        """Raises CommandFailed when one of the processes has ended."""
        for child in self._children:
            child.check()

    def say_where(self, *, stays: bool) -> None:
        """Where to look, and what to try."""
        tenant, workflow = self._told.shown
        url = self._views.url
        self._console.print(f"\nWeb views of the worker (description: {url}/openapi.json):", markup=False)
        for path in (
            f"/v1/workflows?tenant={tenant}&status=completed&limit=10",
            f"/v1/workflows/{workflow}/timeline?tenant={tenant}",
            f"/v1/replays/{REPLAY_ID}",
            "/readyz",
            "/metrics",
        ):
            self._console.print(f"  {url}{path}", markup=False, soft_wrap=True)
        if stays:
            self._console.print(
                "\nIn another terminal:\n"
                f"  export REPLAYER_BROKER={self._settings.broker} REPLAYER_WEB_PORT={self._settings.web_port}\n"
                f"  .venv/bin/replayer timeline {workflow} --tenant {tenant}\n"
                "  .venv/bin/replayer simulate --workflows 20\n"
                "\nCtrl-C ends everything.",
                markup=False,
                soft_wrap=True,
            )

    def _start_broker(self) -> None:
        with Step(self._console, "Apache Kafka") as step:
            step.now("starting (the first time, its jars are fetched)")
            broker = self._stack.enter_context(EmbeddedBroker(progress=step.now))
            self._settings = Settings(
                broker=broker.bootstrap,
                data_dir=self._directory / "data",
                artefact_dir=self._directory / "artefacts",
                web_port=free_port(HOST),
                log_format="json",
            )
            self._views = Views(self._settings.url)
            step.outcome(broker.bootstrap)
        with Step(self._console, "Topics") as step:
            step.outcome(f"{asyncio.run(_create_topics(self._settings))} created")

    def _start_roles(self) -> None:
        self._stack.callback(stop_all, self._children)
        own = {
            "REPLAYER_BROKER": str(self._settings.broker),
            "REPLAYER_DATA_DIR": str(self._settings.data_dir),
            "REPLAYER_ARTEFACT_DIR": str(self._settings.artefact_dir),
            "REPLAYER_LOG_FORMAT": "json",
        }
        ports = {"worker": self._settings.web_port, "investigator": free_port(HOST)}
        for role, port in ports.items():
            log_file = self._directory / f"{role}.log"
            self._children.append(Child(role, [role], {**own, "REPLAYER_WEB_PORT": str(port)}, log_file))

    def _feed(self, workflows: int) -> None:
        told = self._told = workload(workflows)
        with Step(self._console, "Workload") as step:
            published = 0

            def advance(count: int) -> None:
                nonlocal published
                published += count
                step.now(f"{published} of {len(told.emissions)} records")
                self.check()

            report = publish(
                (Parcel(Send(one.topic, one.key, one.value), one.artefacts) for one in told.emissions),
                self._settings,
                store=ArtefactStore(self._settings.artefact_dir),
                advance=advance,
            )
            if report.interrupted:
                raise KeyboardInterrupt
            step.outcome(
                f"{told.events} events of {told.workflows} support cases (seed {SEED}), some of them twice or late, "
                f"and {told.poison} records that are no events"
            )

    def _await_ready(self) -> None:
        with Step(self._console, "Worker") as step:
            self._until(self._ready, step, "ready")
            step.outcome(self._views.url)

    def _ready(self, step: Step) -> bool:
        try:
            Views(self._views.url, patience_s=0).get("readyz")
        except CommandFailed as failed:
            if failed.code is not Exit.UNREACHABLE:
                raise
            step.now("joining its group, recovering its tables")
            return False
        return True

    def _await_timelines(self) -> None:
        with Step(self._console, "Timelines") as step:
            self._until(self._all_seen, step, "showing every event")
            step.outcome(f"{self._told.events} events in {self._told.workflows} workflows")

    def _all_seen(self, step: Step) -> bool:
        seen: int = sum(workflow["events"] for workflow in self._views.pages("v1", "workflows"))
        step.now(f"{seen} of {self._told.events} events")
        return seen >= self._told.events

    def _until(self, done: Callable[[Step], bool], step: Step, what: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not done(step):
            self.check()
            if time.monotonic() > deadline:
                raise CommandFailed(
                    f"The worker was not {what} within {_PATIENCE_S:.0f} s. Its log ends:\n{self._children[0].tail()}"
                )
            time.sleep(0.2)

    def _show_timeline(self) -> None:
        tenant, workflow = self._told.shown
        head = self._views.get("v1", "workflows", workflow, tenant=tenant)
        items = list(self._views.pages("v1", "workflows", workflow, "timeline", tenant=tenant))
        self._console.print("\nOne of them, as `replayer timeline` shows it:\n", markup=False)
        self._console.print(rendering.timeline(head, items))
        self._console.print()

    def _investigate(self) -> None:
        chosen = self._told.overridden
        command = ReplayCommand(
            command_id=f"{REPLAY_ID}-start",
            replay_id=REPLAY_ID,
            action="start",
            requester="demo",
            requested_at=datetime.now(UTC),
            spec=ReplaySpec(
                name="Why did people step in?",
                purpose=f"look again at {len(chosen)} cases of {chosen[0][0]} that a person overrode",
                selection=SelectWorkflows(
                    workflows=tuple(WorkflowRef(tenant_id=tenant, workflow_id=name) for tenant, name in chosen)
                ),
                range=FromEarliest(),
            ),
        )
        with Step(self._console, "Investigation") as step:
            record = Send("replay-commands", command.key, encode_command(command))
            publish([Parcel(record)], self._settings, store=None)
            self._until(self._replayed, step, f"told the end of replay {REPLAY_ID}")
            replay = self._views.get("v1", "replays", REPLAY_ID)
            step.outcome(f"from historical offsets, in its own consumer group replayer-inv-{REPLAY_ID}")
        self._console.print(described(replay))
        if replay["state"] != "COMPLETED":
            raise CommandFailed(f"The replay is {replay['state']}: {replay['error']}")
        tally, summary = results.Tally(), results.Summary()
        asyncio.run(_results(self._settings, replay["results"], tally, summary))
        if wrong := tally.mismatch():
            raise CommandFailed(f"The results of the replay do not add up: {wrong}.")
        self._console.print(summary.table())
        self._console.print(tally.verdict(), markup=False, soft_wrap=True)

    def _replayed(self, step: Step) -> bool:
        try:
            replay: dict[str, Any] = self._views.get("v1", "replays", REPLAY_ID)
        except CommandFailed as failed:
            if failed.code is not Exit.NOT_FOUND:
                raise
            step.now("waiting for the investigator")
            return False
        step.now(f"{replay['state']}, {replay['read']} records read, {replay['matched']} matched")
        return str(replay["state"]) in FINAL


async def _create_topics(settings: Settings) -> int:
    from replayer.deployment import topics
    from replayer.kafka.admin import LogAdmin

    async with LogAdmin(settings.brokers) as admin:
        return len(await admin.create(topics(settings)))


async def _results(
    settings: Settings, location: dict[str, Any], tally: results.Tally, summary: results.Summary
) -> None:
    async for record in results.read(settings, REPLAY_ID, location):
        tally.add(record)
        summary.add(record)
