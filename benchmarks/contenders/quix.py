"""Quix Streams doing the same: the product's codec and reducer per event, rows in its RocksDB State, changelog on.

State keys are prefixed with the message key (the workflow id), as Quix does by default. A checkpoint writes the rows
changed since the last one to the changelog, waits for the broker, commits the offsets and flushes RocksDB: durable.
"""

from __future__ import annotations

from typing import Any

from quixstreams import Application, message_context
from quixstreams.state import State

from benchmarks.contenders.job import Job
from benchmarks.contenders.reducers import Reads, SourceRecord, reducer


def main() -> None:
    job = Job.from_argv()
    settings = dict(job.settings)
    reduce = reducer(settings.pop("rows"))
    app = Application(
        broker_address=job.bootstrap,
        consumer_group=job.group,
        auto_offset_reset="earliest",
        state_dir=job.data_dir,
        use_changelog_topics=True,
        loglevel="WARNING",
        **settings,
    )
    source = app.topic(job.topic, key_deserializer="bytes", value_deserializer="bytes")
    name = job.topic

    def materialise(value: bytes, key: Any, timestamp: int, headers: Any, state: State[bytes, bytes]) -> None:
        context = message_context()
        record = SourceRecord(name, context.partition, context.offset, timestamp, key, value)
        for row, content in reduce(Reads(state.get_bytes), record):
            if content is None:
                state.delete(row)
            else:
                state.set_bytes(row, content)

    app.dataframe(source).update(materialise, metadata=True, stateful=True)
    app.run()


if __name__ == "__main__":
    main()
