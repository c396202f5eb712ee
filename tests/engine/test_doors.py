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

from replayer.engine.app import EngineApp
from replayer.engine.consumer import BatchConsumer, BatchTransport
from replayer.engine.fetching import BatchConsumerThread
from replayer.engine.recovery import BatchRecovery, BatchTables
from replayer.engine.schema import BatchSchema
from replayer.engine.store import BatchStore
from tests.engine.test_store import engine_at

#: What we override or rely on -> fingerprint of its source.
DOORS: dict[str, str] = {
    # consumer.py
    "faust.transport.consumer:Consumer.__init__": "",
    "faust.transport.consumer:Consumer._drain_messages": "",
    "faust.transport.consumer:Consumer._get_active_partitions": "",
    "faust.transport.consumer:Consumer._set_active_tps": "",
    "faust.transport.consumer:Consumer._wait_next_records": "",
    "faust.transport.consumer:Consumer.ack": "",
    "faust.transport.consumer:Consumer.getmany": "",
    "faust.transport.consumer:Consumer.on_buffer_drop": "",
    "faust.transport.consumer:Consumer.on_buffer_full": "",
    "faust.transport.consumer:Consumer.on_partitions_assigned": "",
    "faust.transport.consumer:Consumer.on_partitions_revoked": "",
    "faust.transport.consumer:Consumer.on_stop": "",
    "faust.transport.consumer:Consumer.pause_partitions": "",
    "faust.transport.consumer:Consumer.perform_seek": "",
    "faust.transport.consumer:Consumer.resume_partitions": "",
    "faust.transport.consumer:Fetcher": "",
    "faust.transport.consumer:ThreadDelegateConsumer": "",
    "faust.transport.drivers.aiokafka:Consumer._to_message": "",
    "faust.transport.drivers.aiokafka:ConsumerRebalanceListener": "",
    "faust.transport.conductor:ConductorCompiler.build": "",
    "mode.services:Service.wait_first": "",
    "mode.utils.queues:FlowControlEvent": "",
    # fetching.py
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.__post_init__": "",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._commit": "",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._create_worker_consumer": "",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._fetch_records": "",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._highwaters": "",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._seek_wait": "",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.getmany": "",
    "mode.threads:QueueServiceThread.call_thread": "",
    "mode.threads:MethodQueue": "",
    "aiokafka.consumer.consumer:AIOKafkaConsumer.start": "",
    "aiokafka.consumer.fetcher:Fetcher.fetched_records": "",
    "aiokafka.consumer.fetcher:Fetcher.seek_to": "",
    "aiokafka.consumer.fetcher:FetchResult": "",
    "aiokafka.consumer.fetcher:PartitionRecords._unpack_records": "",
    "aiokafka.consumer.subscription_state:TopicPartitionState": "",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._on_join_complete": "",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._on_join_prepare": "",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._push_error_to_user": "",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._send_req": "",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.check_errors": "",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.ensure_active_group": "",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.fetch_committed_offsets": "",
    # recovery.py
    "faust.tables.recovery:Recovery._add": "",
    "faust.tables.recovery:Recovery._build_highwaters": "",
    "faust.tables.recovery:Recovery._build_offsets": "",
    "faust.tables.recovery:Recovery._restart_recovery": "",
    "faust.tables.recovery:Recovery._seek_offsets": "",
    "faust.tables.recovery:Recovery._slurp_changelogs": "",
    "faust.tables.recovery:Recovery._wait": "",
    "faust.tables.recovery:Recovery.need_recovery": "",
    "faust.tables.recovery:Recovery.on_rebalance": "",
    "faust.tables.recovery:Recovery.on_recovery_completed": "",
    "faust.tables.recovery:Recovery.revoke": "",
    "faust.tables.manager:TableManager.recovery": "",
    "faust.tables.manager:TableManager.changelog_queue": "",
    "faust.tables.base:Collection.on_changelog_event": "",
    # store.py
    "faust.stores.rocksdb:Store.__init__": "",
    "faust.stores.rocksdb:Store._db_for_partition": "",
    "faust.stores.rocksdb:Store._open_for_partition": "",
    "faust.stores.rocksdb:Store._try_open_db_for_partition": "",
    "faust.stores.rocksdb:Store.apply_changelog_batch": "",
    "faust.stores.rocksdb:Store.assign_partitions": "",
    "faust.stores.rocksdb:Store.on_rebalance": "",
    "faust.stores.rocksdb:Store.partition_path": "",
    "faust.stores.rocksdb:Store.persisted_offset": "",
    "faust.stores.rocksdb:Store.revoke_partitions": "",
    "faust.stores.rocksdb:Store.stop": "",
    # app.py, run.py
    "faust.app.base:App.on_stop": "",
    "faust.app.base:App._stop_consumer": "",
    "faust.app.base:App._on_partitions_assigned": "",
    "faust.app.base:App._on_partitions_revoked": "",
    "faust.worker:Worker.__init__": "",
    "mode.worker:Worker._schedule_shutdown": "",
    "mode.worker:Worker._stop_on_signal": "",
    "mode.worker:Worker.execute_from_commandline": "",
    "mode.worker:Worker.install_signal_handlers": "",
    "mode.worker:Worker.stop_and_shutdown": "",
    "faust.assignor.partition_assignor:PartitionAssignor.on_assignment": "",
    # producer.py
    "aiokafka.producer.producer:AIOKafkaProducer.send_batch": "",
    "aiokafka.producer.producer:AIOKafkaProducer.stop": "",
    "aiokafka.producer.message_accumulator:BatchBuilder.append": "",
    "aiokafka.producer.message_accumulator:MessageBatch.done": "",
    "aiokafka.producer.sender:Sender.close": "",
}


def find(name: str):
    module, _, path = name.partition(":")
    found = functools.reduce(getattr, path.split("."), importlib.import_module(module))
    return found.fget if isinstance(found, property) else found


def fingerprint(name: str) -> str:
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(find(name))))
    return hashlib.sha256(source.encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", DOORS)
def test_the_source_behind_the_door_is_the_one_that_was_read(name):
    assert fingerprint(name) == DOORS[name], (
        f"{name} has changed: read it again with the part of replayer/engine it serves"
    )


@pytest.mark.parametrize(
    ("ours", "overrides"),
    [
        (
            BatchConsumer,
            "_new_consumer_thread _drain_messages _wait_next_records perform_seek on_partitions_revoked "
            "on_partitions_assigned on_stop resume_partitions on_buffer_drop",
        ),
        (BatchConsumerThread, "__post_init__ _create_worker_consumer _fetch_records _seek_wait"),
        (BatchRecovery, "on_recovery_completed _wait"),
        (BatchTables, "recovery"),
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


def test_nothing_else_of_faust_is_overridden_unnoticed():
    listed = {name.rsplit(".", 1)[1] for name in DOORS if "." in name.partition(":")[2]}
    ours = (BatchConsumer, BatchConsumerThread, BatchRecovery, BatchTables, BatchStore, EngineApp)
    plain = {
        "__init__",
        "__module__",
        "__doc__",
        "__annotations__",
        "__abstractmethods__",
        "_abc_impl",
        "_new_consumer_thread",
    }
    for cls in ours:
        for name in vars(cls):
            inherited = any(name in vars(base) for base in cls.__mro__[1:-1])
            if inherited and callable(getattr(cls, name, None)) and name not in plain:
                assert name in listed, f"{cls.__name__}.{name} overrides Faust and has no fingerprint here"


def test_our_parts_are_the_ones_faust_makes(tmp_path):
    engine = engine_at(tmp_path)
    assert isinstance(engine.app.transport, BatchTransport)
    assert isinstance(engine.app.tables.recovery, BatchRecovery)
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
