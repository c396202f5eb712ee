"""Every door into Faust, mode and aiokafka: where one changes, the test that fails names it.

The engine replaces some of these and relies on how others behave. When a fingerprint differs, read the source again
with the file named beside it, then write the new fingerprint here.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import importlib
import inspect
import textwrap

import faust.stores
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from faust.types import TP
from mode.services import ServiceTask

from replayer.engine.app import EngineApp
from replayer.engine.assignor import BatchAssignor
from replayer.engine.consumer import BatchConsumer, BatchTransport
from replayer.engine.fetching import BatchConsumerThread
from replayer.engine.recovery import BatchRecovery, BatchTables
from replayer.engine.schema import BatchSchema
from replayer.engine.store import BatchStore
from tests.engine.stores import engine_at

#: What we override or rely on -> fingerprint of its source.
DOORS: dict[str, str] = {
    # consumer.py
    "faust.transport.consumer:Consumer.__init__": "00f02908cf84d93a",
    "faust.transport.consumer:Consumer._drain_messages": "8f35dd7a11144daa",
    "faust.transport.consumer:Consumer._get_active_partitions": "da41bc1e8d869433",
    "faust.transport.consumer:Consumer._set_active_tps": "5177b9c0b80e64d0",
    "faust.transport.consumer:Consumer._wait_next_records": "ba40cd3671328d3b",
    "faust.transport.consumer:Consumer.ack": "5548cf0f75843f73",
    "faust.transport.consumer:Consumer.getmany": "e486c434b7928ee8",
    "faust.transport.consumer:Consumer.on_buffer_drop": "c5f80b096c715169",
    "faust.transport.consumer:Consumer.on_buffer_full": "edcee17978c41d8d",
    "faust.transport.consumer:Consumer.on_partitions_assigned": "c07feb1175f7dcf1",
    "faust.transport.consumer:Consumer.on_partitions_revoked": "652177e770ee66d6",
    "faust.transport.consumer:Consumer.on_stop": "7accc1bf4f9759a1",
    "faust.transport.consumer:Consumer.pause_partitions": "a1814af098238ff1",
    "faust.transport.consumer:Consumer.perform_seek": "2b4ceebd23deb7ee",
    "faust.transport.consumer:Consumer.resume_partitions": "fc6392136c275c6c",
    "faust.transport.consumer:Fetcher": "c922e4ab78d9e296",
    "faust.transport.consumer:ThreadDelegateConsumer": "a1b934b198fae1c0",
    "faust.transport.drivers.aiokafka:Consumer._new_consumer_thread": "8fd0d41b15145615",
    "faust.transport.drivers.aiokafka:Consumer.on_stop": "017029bcd2b68770",
    "faust.transport.drivers.aiokafka:Consumer._to_message": "a2a5aefda42d9cd1",
    "faust.transport.drivers.aiokafka:ConsumerRebalanceListener": "f3d04f29dfb3f716",
    "faust.transport.conductor:ConductorCompiler.build": "70ded0e719100a3f",
    "mode.services:Service.wait_first": "3ed3b8c32e14dec3",
    "mode.utils.queues:FlowControlEvent": "1da8f905ab655e39",
    # fetching.py
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.__post_init__": "21d9b9cc0d165197",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._commit": "78c931ecfa8dde44",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._create_worker_consumer": "c179c0bdb9755c3a",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._fetch_records": "9e7369fc572de4d0",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._highwaters": "829699ec62b7ec5b",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._seek_wait": "98f8aa716db26656",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.getmany": "1b1c58046a9b2bb7",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.on_start": "675d03707bbecd3c",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.on_thread_stop": "cdbbe53230d20fb6",
    "aiokafka.consumer.consumer:AIOKafkaConsumer.stop": "bf02b37ed4aa2eab",
    "aiokafka.consumer.fetcher:Fetcher._create_fetch_waiter": "65046fcd40e702ff",
    "aiokafka.consumer.fetcher:Fetcher._notify": "b0c2aa8e3cc1b158",
    "aiokafka.consumer.fetcher:Fetcher.close": "eb8e175ce6f83cba",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.request_rejoin": "961f77b4398b5d91",
    "mode.threads:ServiceThread._start_thread": "22434db1314bb4a9",
    "mode.threads:QueueServiceThread.call_thread": "d1304f73ca65376d",
    "mode.threads:MethodQueue": "d21c54e20ac6ea81",
    "aiokafka.consumer.consumer:AIOKafkaConsumer.start": "5ba1baa38f6246a0",
    "aiokafka.consumer.fetcher:Fetcher.fetched_records": "e20ce0c8117f12d2",
    "aiokafka.consumer.fetcher:Fetcher.seek_to": "10c45c3c873d9c50",
    "aiokafka.consumer.fetcher:FetchResult": "d7db13f06de8248c",
    "aiokafka.consumer.fetcher:PartitionRecords._unpack_records": "047f7fc3f005c220",
    "aiokafka.consumer.subscription_state:TopicPartitionState": "2b83334afadf6d98",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._on_join_complete": "186788a437c08195",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._on_join_prepare": "620a6bbc67252dde",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._push_error_to_user": "8dce53d5130dcd33",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._send_req": "ca4ba17474e11324",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.check_errors": "c67ee34a37d994bd",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.ensure_active_group": "44c4b92c3714b2ae",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.fetch_committed_offsets": "c83e0cafbf1e78a4",
    # recovery.py
    "faust.tables.recovery:Recovery._add": "0bc4d83626768199",
    "faust.tables.recovery:Recovery._build_highwaters": "32d70220d2a8a96f",
    "faust.tables.recovery:Recovery._build_offsets": "0f5a7d62fb7d4a1f",
    "faust.tables.recovery:Recovery._restart_recovery": "f93138b040ef1bc2",
    "faust.tables.recovery:Recovery._seek_offsets": "d76d5a8f46fa2401",
    "faust.tables.recovery:Recovery._slurp_changelogs": "7e3120dad754763d",
    "faust.tables.recovery:Recovery._wait": "768af810dce80586",
    "faust.tables.recovery:Recovery.need_recovery": "c6860beac5d773db",
    "faust.tables.recovery:Recovery.on_rebalance": "31030bc1807f4cd3",
    "faust.tables.recovery:Recovery.on_recovery_completed": "895e7c415a4d1379",
    "faust.tables.recovery:Recovery.revoke": "b22e61ecd04cc078",
    "faust.tables.manager:TableManager._update_channels": "c43fe8c0812bf9cb",
    "faust.tables.manager:TableManager.on_start": "b82e759be50ccebe",
    "faust.tables.manager:TableManager.recovery": "9e5e10447444e1df",
    "faust.tables.manager:TableManager.changelog_queue": "756bbb358089cfc4",
    "faust.tables.base:Collection.on_changelog_event": "3c327956a6ade7af",
    # store.py
    "faust.stores.rocksdb:Store.__init__": "9301bd0db468d97b",
    "faust.stores.rocksdb:Store._db_for_partition": "abc425297c7542f0",
    "faust.stores.rocksdb:Store._open_for_partition": "21bf6863c5a9af56",
    "faust.stores.rocksdb:Store._try_open_db_for_partition": "1c325dd29db717f5",
    "faust.stores.rocksdb:Store.apply_changelog_batch": "67ac93a2bea2a488",
    "faust.stores.rocksdb:Store.assign_partitions": "5fff1f6b6066ddb7",
    "faust.stores.rocksdb:Store.on_rebalance": "a04fdf2e065d0685",
    "faust.stores.rocksdb:Store.partition_path": "673c6bada85aab33",
    "faust.stores.rocksdb:Store.persisted_offset": "6b4b2940005c3736",
    "faust.stores.rocksdb:Store.revoke_partitions": "0df43a0757fb9404",
    "faust.stores.rocksdb:Store.stop": "a7b7e2eeae9e4689",
    # schema.py
    "faust.serializers.schemas:Schema.compile": "bd271ec59690d13e",
    # app.py, run.py
    "faust.app.base:App.on_stop": "d8e7904b258c93f5",
    "faust.app.base:App._stop_consumer": "96573acf5f044586",
    "faust.app.base:App._on_partitions_assigned": "c9c5485eb273837f",
    "faust.app.base:App._on_partitions_revoked": "c1abd58dcb37f0a2",
    "faust.worker:Worker.__init__": "4cb5c59364a6d3bd",
    "mode.worker:Worker._schedule_shutdown": "00f5a7d8fd26e62f",
    "mode.worker:Worker._stop_on_signal": "a4bcdaa5b7ec0895",
    "mode.worker:Worker.execute_from_commandline": "d441fd6a414d0e13",
    "mode.worker:Worker.install_signal_handlers": "c674fde1fc3c1803",
    "mode.worker:Worker.stop_and_shutdown": "7fa7b1566e48cc60",
    # assignor.py
    "faust.assignor.client_assignment:ClientMetadata": "863328922f0a6bb1",
    "faust.assignor.partition_assignor:PartitionAssignor._protocol_assignments": "80a287d346240c2d",
    "faust.assignor.partition_assignor:PartitionAssignor.on_assignment": "63482c10174f442e",
    # producer.py
    "aiokafka.producer.producer:AIOKafkaProducer.send_batch": "ff8d65b595170b0e",
    "aiokafka.producer.producer:AIOKafkaProducer.stop": "8ee7f0d1b6a5f671",
    "aiokafka.producer.message_accumulator:BatchBuilder.append": "65992902ef83c7cb",
    "aiokafka.producer.message_accumulator:MessageBatch.done": "3593c71c89aa6da9",
    "aiokafka.producer.sender:Sender.close": "7e10a540fd0c307f",
}


def find(name: str):
    module, _, path = name.partition(":")
    found = functools.reduce(getattr, path.split("."), importlib.import_module(module))
    if isinstance(found, ServiceTask):
        return found.fun
    return found.fget if isinstance(found, property) else found


def fingerprint(name: str) -> str:
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(find(name))))
    return hashlib.sha256(source.encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", DOORS)
def test_the_source_behind_the_door_is_the_one_that_was_read(name):
    assert fingerprint(name) == DOORS[name], f"{name} has changed: read it again with what replayer/engine does there"


@pytest.mark.parametrize(
    ("ours", "overrides"),
    [
        (
            BatchConsumer,
            "_new_consumer_thread _drain_messages _wait_next_records perform_seek on_partitions_revoked "
            "on_partitions_assigned on_stop resume_partitions on_buffer_drop",
        ),
        (BatchConsumerThread, "__post_init__ _create_worker_consumer _fetch_records _seek_wait on_thread_stop"),
        (BatchAssignor, "on_assignment"),
        (BatchRecovery, "on_recovery_completed _wait"),
        (BatchTables, "on_start recovery"),
        (BatchStore, "_open_for_partition apply_changelog_batch revoke_partitions stop"),
        (BatchSchema, "compile"),
        (BatchTransport, "Consumer"),
        (EngineApp, "on_stop"),
    ],
)
def test_what_we_override_exists_and_is_called_with_the_same_arguments(ours, overrides):
    (theirs,) = ours.__bases__[:1]
    for name in overrides.split():
        assert name in vars(ours), f"{ours.__name__}.{name} is not ours any more: take it off this list"
        assert hasattr(theirs, name), f"{theirs.__name__}.{name} is gone: nobody calls ours"
        mine, original = getattr(ours, name), getattr(theirs, name)
        if inspect.isfunction(mine):
            assert list(inspect.signature(mine).parameters) == list(inspect.signature(original).parameters), name
            assert inspect.iscoroutinefunction(mine) == inspect.iscoroutinefunction(original), name


@pytest.mark.parametrize(
    "ours",
    [
        BatchAssignor,
        BatchConsumer,
        BatchConsumerThread,
        BatchRecovery,
        BatchSchema,
        BatchStore,
        BatchTables,
        BatchTransport,
        EngineApp,
    ],
)
def test_nothing_is_overridden_without_a_fingerprint(ours):
    for name, mine in vars(ours).items():
        if name == "__init__" or not (inspect.isfunction(mine) or isinstance(mine, property | ServiceTask)):
            continue
        for base in ours.__mro__[1:-1]:
            theirs = vars(base).get(name)
            if theirs is not None and not getattr(theirs, "__isabstractmethod__", False):
                assert f"{base.__module__}:{base.__qualname__}.{name}" in DOORS
                break


def test_our_parts_are_the_ones_faust_makes(tmp_path):
    engine = engine_at(tmp_path)
    assert isinstance(engine.app.transport, BatchTransport)
    assert isinstance(engine.app.tables.recovery, BatchRecovery)
    assert isinstance(engine.app.assignor, BatchAssignor)
    assert isinstance(engine.store("counts"), BatchStore)
    assert isinstance(engine.app.topic("x", schema=BatchSchema()).schema, BatchSchema)
    assert faust.stores.STORES.aliases["replayer"] == "replayer.engine.store:BatchStore"


async def test_the_consumer_takes_what_we_set_before_it_starts(tmp_path):
    engine = engine_at(tmp_path)
    thread = engine.consumer._thread
    consumer = thread._create_worker_consumer(engine.app.transport)
    try:
        assert isinstance(consumer, AIOKafkaConsumer)
        assert consumer._isolation_level == "read_committed"
        assert consumer._auto_offset_reset == "none"
        assert consumer._fetch_max_wait_ms == 500
        assert consumer._coordinator is None
        assert consumer._subscription.subscription is None
        assert thread.group_error() is None
        for name in ("_isolation_level", "_auto_offset_reset", "_fetch_max_wait_ms"):
            assert f"self.{name}" in inspect.getsource(AIOKafkaConsumer.start), f"start no longer reads {name}"
    finally:
        await consumer.stop()
        thread.thread_loop.close()


async def test_channels_neither_ack_nor_commit(tmp_path):
    """acks=False replaces patched offset bookkeeping: Faust has nothing to commit for our topics."""
    engine = engine_at(tmp_path)
    channel = engine.channel("t")
    assert channel.acks is False
    await asyncio.sleep(0)
    assert not engine.app.topics.acks_enabled_for("t")


def test_a_batch_is_message_enough_for_faust(tmp_path):
    from replayer.engine.batch import Batch

    source = inspect.getsource(find("faust.transport.drivers.aiokafka:Consumer._to_message"))
    batch = Batch("t", 0, (), 3, 5, 1)
    for name in ("topic", "partition", "offset", "timestamp", "timestamp_type", "headers", "key", "value", "checksum"):
        assert f"record.{name}" in source
        assert hasattr(batch, name)
    assert TP(batch.topic, batch.partition) == TP("t", 0)


def test_what_a_given_up_producer_is_stopped_by_exists():
    assert "self._sender" in inspect.getsource(AIOKafkaProducer.__init__)
    assert isinstance(find("aiokafka.producer.sender:Sender").sender_task, property)
    assert "self.client" in inspect.getsource(AIOKafkaProducer.__init__)
