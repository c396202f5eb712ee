"""create_worker, create_investigator: the rooms attached in flow order. run_worker, run_investigator: as processes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import structlog

from replayer import logs
from replayer.core.errors import ReplayerError
from replayer.core.outcome import Rows
from replayer.deployment import delete_retention_ms, foreign, grown, sources, together, topics
from replayer.engine.config import EngineConfig
from replayer.engine.engine import Engine
from replayer.engine.run import run
from replayer.flows import tables
from replayer.flows.ingest import attach_agents
from replayer.investigate.config import InvestigateConfig
from replayer.investigate.investigator import Investigator
from replayer.kafka import connection
from replayer.kafka.admin import LogAdmin
from replayer.kafka.partitioner import partition_of
from replayer.metrics import Metrics
from replayer.owned import OwnedTables
from replayer.serve import server
from replayer.serve.routes import PROBES
from replayer.settings import Settings, SettingsError
from replayer.startup import CannotStart, before_start, own_directory
from topics.bounds import Limits

log = structlog.get_logger(__name__)


def create_worker(settings: Settings, metrics: Metrics) -> Engine:
    """The worker: event topics to timelines, replays to their table, views over both."""
    timelines = tables.timelines(
        settings.partitions,
        partition_of,
        settings.max_record_bytes,
        settings.fold,
        settings.index,
        rekeyed=bool(settings.foreign_topics),
    )
    engine = Engine(
        _config(settings, metrics, settings.app_id, settings.instance_dir),
        [
            timelines,
            tables.templates(settings.partitions, partition_of, settings.max_record_bytes, timelines.library),
            tables.replays(settings.partitions, partition_of, settings.max_record_bytes),
            *(
                tables.relay(
                    told.topic, told.partitions, [kind.rules() for kind in told.events], settings.max_record_bytes
                )
                for told in settings.foreign_topics
            ),
        ],
        metrics,
    )
    attach_agents(engine)
    engine.app.serve_with(server.attach(engine.app, OwnedTables(engine, settings.url), settings, metrics))
    return engine


def create_investigator(settings: Settings, metrics: Metrics) -> Engine:
    """The investigator: commands to its own table, one task for each replay that its rows want. Serves probes only."""

    def owned() -> Iterator[Rows]:
        for partition in engine.active(tables.INVESTIGATIONS):
            rows = engine.rows(tables.INVESTIGATIONS, partition)
            if rows is not None:
                yield rows

    investigator = Investigator(
        InvestigateConfig(
            brokers=settings.brokers,
            partition_of=partition_of,
            client=connection.client_arguments(settings),
            sources=sources(settings),
            limits=Limits(max_record_bytes=settings.max_record_bytes),
            max_concurrent=settings.investigator_max_concurrent,
            commit_records=settings.investigator_batch_records,
            transaction_timeout_s=settings.transaction_timeout_s,
        ),
        owned,
        failed=lambda error: engine.fail(f"The investigator stopped: {logs.spoken(error)}", error),
    )
    engine = Engine(
        _config(settings, metrics, settings.investigator_app_id, _investigator_dir(settings)),
        [
            tables.investigations(
                settings.partitions, partition_of, settings.max_record_bytes, lambda _partition: investigator.wake()
            )
        ],
        metrics,
    )
    attach_agents(engine)
    engine.run_beside(investigator.start, investigator.stop)
    engine.app.serve_with(server.attach(engine.app, OwnedTables(engine, settings.url), settings, metrics, PROBES))
    return engine


def run_worker(settings: Settings) -> int:
    """Run a worker until SIGTERM or Ctrl-C. Exit code 0 then, 1 after a failure, whose sentence is in the log.

    Raises SettingsError where a setting is missing or cannot be used.
    """
    return _run(settings, "worker", settings.instance_dir, create_worker, _reads_all_of)


def run_investigator(settings: Settings) -> int:
    """Run an investigator until SIGTERM or Ctrl-C. Exit codes and errors as of a worker."""
    return _run(settings, "investigator", _investigator_dir(settings), create_investigator)


def _investigator_dir(settings: Settings) -> Path:
    return settings.data_dir / settings.investigator_app_id / settings.instance


async def _as_they_are(admin: LogAdmin, settings: Settings) -> Settings:
    return settings


async def _reads_all_of(admin: LogAdmin, settings: Settings) -> Settings:
    """Partitions that foreign topics were given since they were declared are taken up: positions move nowhere."""
    counts = await admin.partitions([told.topic for told in settings.foreign_topics])
    fitted = grown(settings, counts)
    for before, told in zip(settings.foreign_topics, fitted.foreign_topics, strict=True):
        if told.partitions > before.partitions:
            log.warning(
                "a foreign topic was given partitions: they are read; say so in REPLAYER_FOREIGN_TOPICS",
                topic=told.topic,
                said=before.partitions,
                found=told.partitions,
            )
    for one in foreign(fitted):
        await admin.grow(one.changelog, one.partitions)
    return fitted


def _run(
    settings: Settings,
    role: str,
    directory: Path,
    create: Callable[[Settings, Metrics], Engine],
    fit: Callable[[LogAdmin, Settings], Awaitable[Settings]] = _as_they_are,
) -> int:
    logs.set_up(settings.log_level, settings.log_format)
    try:
        log.info(
            "starting",
            role=role,
            brokers=settings.brokers,
            app_id=settings.app_id,
            instance=settings.instance,
            url=settings.url,
        )
        with ExitStack() as held:
            held.enter_context(own_directory(directory))
            fitted = before_start(settings.web_host, settings.web_port, lambda: _fitted(settings, fit))
            return 0 if fitted is None else run(create(fitted, Metrics()))
    except SettingsError:
        raise  # the command line tells of these, in one way for all commands
    except ReplayerError as exc:
        log.critical("cannot start", reason=str(exc))
        return 1


async def _fitted(settings: Settings, fit: Callable[[LogAdmin, Settings], Awaitable[Settings]]) -> Settings:
    """Wait for a broker; refuse topics that are missing or do not fit. Raises CannotStart."""
    await connection.await_broker(settings)
    async with LogAdmin(settings.brokers, connection.client_arguments(settings)) as admin:
        fitted = await fit(admin, settings)
        problems = await admin.check(topics(fitted), together(fitted), foreign(fitted))
    if problems:
        raise CannotStart(" ".join(problems))
    return fitted


def _config(settings: Settings, metrics: Metrics, app_id: str, directory: Path) -> EngineConfig:
    return EngineConfig(
        app_id=app_id,
        brokers=settings.brokers,
        data_dir=directory,
        instance_id=settings.instance,
        web_host=settings.web_host,
        web_port=settings.web_port,
        web_url=settings.url,
        guarantee=settings.guarantee,
        client=connection.client_arguments(settings),
        credentials=connection.faust_credentials(settings),
        batch_max_records=settings.batch_max_records,
        batch_max_bytes=settings.batch_max_bytes,
        buffer_batches=settings.buffer_batches,
        rocksdb_memory_bytes=settings.rocksdb_memory_mb << 20,
        delete_retention_ms=delete_retention_ms(settings),
        session_timeout_s=settings.session_timeout_s,
        heartbeat_interval_s=settings.heartbeat_interval_s,
        rebalance_timeout_s=settings.rebalance_timeout_s,
        transaction_timeout_s=settings.transaction_timeout_s,
        commit_interval_s=settings.commit_interval_s,
        max_ahead_records=settings.foreign_ahead_records,
        standby_replicas=settings.standby_replicas,
        stop_grace_s=settings.stop_grace_s,
        web={
            **server.FAUST_WEB_SETTINGS,
            "web_application_options": server.web_application_options(settings, metrics),
        },
    )
