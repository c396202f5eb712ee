"""Plain Faust doing the same: an agent, the product's codec and reducer per event, a RocksDB table with changelog.

Faust commits a source offset only behind an acknowledged changelog record: durable, as far as Faust goes.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any

import faust
import uvloop

from benchmarks.contenders.job import Job
from benchmarks.contenders.reducers import Reads, SourceRecord, reducer


def create(job: Job) -> faust.App:
    settings = dict(job.settings)
    reduce = reducer(settings.pop("rows"))
    table_options = settings.pop("table_options")
    buffered = settings.pop("producer.buffer.max_messages")
    announce = settings.pop("announce", False)
    app = faust.App(
        job.group,
        broker=f"kafka://{job.bootstrap}",
        store="rocksdb://",
        datadir=job.data_dir,
        topic_partitions=job.partitions,
        topic_replication_factor=1,
        topic_disable_leader=True,
        processing_guarantee="at_least_once",
        consumer_auto_offset_reset="earliest",
        web_bind="127.0.0.1",
        web_port=job.port,
        autodiscover=False,
        **settings,
    )
    source = app.topic(
        job.topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", internal=False
    )
    table = app.Table(
        "timelines", partitions=job.partitions, key_type=bytes, value_type=bytes, options=dict(table_options)
    )
    rows = Reads(table.get)

    async def materialise(stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            record = SourceRecord(
                message.topic,
                message.partition,
                message.offset,
                int(message.timestamp * 1000),
                message.key,
                event.value,
            )
            for row, content in reduce(rows, record):
                if content is None:
                    del table[row]
                else:
                    table[row] = content

    if announce:
        _announce_recovery(app, table)
    # Not a setting, but 100 pending changelog records are few, and a full buffer logs a warning for every event.
    app.producer.buffer.max_messages = buffered
    app.agent(source, name="materialise")(materialise)
    return app


def _announce_recovery(app: faust.App, table: Any) -> None:
    """Say when partitions were assigned and when the table had them back."""

    async def assigned(*_: Any, **__: Any) -> None:
        _say("assigned")

    async def recovered() -> None:
        _say("recovered")

    app.on_partitions_assigned.connect(assigned, weak=False)
    table.on_recover(recovered)


def _say(what: str) -> None:
    os.write(1, f"bench {what} {time.time()}\n".encode())  # Faust makes log lines of what is printed


def main() -> None:
    uvloop.install()
    logging.disable(logging.WARNING)  # else aiokafka makes a record of every message sent, for nobody
    app = create(Job.from_argv())
    faust.Worker(app, loglevel="ERROR", quiet=True).execute_from_commandline()


if __name__ == "__main__":
    main()
