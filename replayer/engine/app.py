"""The Faust app of an engine: its settings, and our parts put in the place of Faust's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import faust
import faust.stores
from yarl import URL

from replayer.engine.assignor import BatchAssignor
from replayer.engine.config import EngineConfig
from replayer.engine.consumer import BatchTransport
from replayer.engine.recovery import BatchTables

if TYPE_CHECKING:
    from replayer.engine.engine import Engine

faust.stores.STORES.aliases["replayer"] = "replayer.engine.store:BatchStore"

_FOREVER_S = 10.0 * 365 * 86_400


class EngineApp(faust.App):
    """A Faust app that closes its lanes before anything under them is taken away."""

    engine: Engine

    def serve_with(self, runner: Any) -> None:
        """Run the web server with this aiohttp runner in place of Faust's. Call before the app starts."""
        self.web._runner = runner  # type: ignore[attr-defined] # of its aiohttp driver

    async def on_stop(self) -> None:
        await self.engine.stop()
        await super().on_stop()


def create_app(config: EngineConfig, engine: Engine) -> EngineApp:
    """The app of one role, without tables and agents."""
    app = EngineApp(
        config.app_id,
        env={},  # else any WEB_BIND, WEB_PORT, BROKER_URL ... of the environment wins over what is said here
        broker=[URL(f"kafka://{broker}") for broker in config.brokers],
        broker_credentials=config.credentials,
        broker_client_id=f"{config.app_id}-{config.instance_id}",
        consumer_group_instance_id=config.instance_id,
        store="replayer://",
        datadir=config.data_dir,
        TableManager=BatchTables,
        PartitionAssignor=BatchAssignor,
        processing_guarantee="at_least_once",  # Faust's own exactly-once stalls in recovery; ours is the lanes'
        topic_disable_leader=True,
        topic_allow_declare=False,  # topics are made by `replayer topics create`, from the catalogue
        stream_buffer_maxsize=64,  # batches
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
        consumer_max_fetch_size=config.batch_max_bytes,  # so that one fetch may fill a step
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=int(config.metadata_max_age_s * 1000),
        broker_session_timeout=config.session_timeout_s,
        broker_heartbeat_interval=config.heartbeat_interval_s,
        broker_rebalance_timeout=config.rebalance_timeout_s,
        broker_request_timeout=max(40.0, config.session_timeout_s + 1),
        # aiokafka's own rule, unknown to the broker: a worker that fetches nothing for this long leaves the group and
        # never comes back. One that has no partitions fetches nothing, and is there for the day it gets some.
        broker_max_poll_interval=_FOREVER_S,
        table_standby_replicas=config.standby_replicas,
        web_bind=config.web_host,
        web_host=config.web_host,
        web_port=config.web_port,
        canonical_url=config.web_url,
        autodiscover=False,
        **config.web,
    )
    app.engine = engine
    app.transport = BatchTransport(app.conf.broker_consumer, app, engine)
    return app
