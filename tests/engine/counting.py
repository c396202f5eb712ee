"""A worker of a small counting table: what the process tests start, kill, stop and look into.

    python -m tests.engine.counting '{"app": ..., "brokers": [...], ...}'

Rows: `e` key NUL topic NUL offset -> the record's value; `h` key -> how often it was counted and up to where.
The head counts twice: `folded` whenever the fold sees a record, `counted` only above the offset it has applied. Where
the engine promises that no record is folded twice, both must be exact.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from replayer.core import gaps as gaps_of
from replayer.core.outcome import Folded, Folding, Record, Rows, Send
from replayer.engine.config import EngineConfig, TableSpec
from replayer.engine.engine import Engine
from replayer.engine.measures import NoMeasures
from replayer.engine.position import PREFIX, Position
from replayer.engine.run import run
from replayer.flows.ingest import attach_agents

TABLE = "counts"
POISON = b"poison"


def event_key(record: Record) -> bytes:
    return b"e%s\0%s\0%s" % (record.key, record.topic.encode(), record.offset.to_bytes(8, "big"))


def fold(rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folding:
    folded = Folded()
    keys = {b"h%s" % record.key for record in records}
    heads = {
        key: json.loads(value) if value else {"folded": 0, "counted": 0, "applied": {}}
        for key, value in zip(keys, rows.get_many(list(keys)), strict=True)
    }
    for record in records:
        if record.value == POISON:
            raise ValueError("this record cannot be folded")
        head = heads[b"h%s" % record.key]
        head["folded"] += 1
        if record.offset > head["applied"].get(record.topic, -1):
            head["applied"][record.topic] = record.offset
            head["counted"] += 1
        folded.rows.append((event_key(record), record.value))
        yield
    folded.rows.extend((key, json.dumps(head, sort_keys=True).encode()) for key, head in heads.items())
    return folded


def dead_letters_to(topic: str) -> Any:
    def poison(record: Record, exc: Exception, now_ms: int) -> Send:
        headers = (("error", type(exc).__name__.encode()), ("offset", b"%d" % record.offset))
        return Send(topic, record.key, record.value, headers)

    return poison


class Measures(NoMeasures):
    """Counts what happened, for the tests to ask."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}
        self.lags: dict[tuple[str, str, int], int] = {}

    def _count(self, name: str, by: int = 1) -> None:
        self.seen[name] = self.seen.get(name, 0) + by

    def sought_back(self, table: str) -> None:
        self._count("sought_back")

    def transaction_failed(self, table: str) -> None:
        self._count("transaction_failed")

    def state_set_aside(self, table: str, why: str) -> None:
        self._count(f"set_aside_{why}")

    def recovered(self, table: str, rows: int) -> None:
        self._count("recovered", rows)

    def lag(self, lags: Mapping[tuple[str, str, int], int]) -> None:
        self.lags = dict(lags)


def look(rows: Rows) -> dict[str, Any]:
    """One partition's rows, summed up; the digest is over all rows the changelog knows."""
    digest, events, heads, gaps, positions = hashlib.sha256(), 0, [], [], {}
    for key, value in rows.scan(b""):
        if key.startswith(b"__"):
            continue  # the store's own: not of the changelog
        digest.update(len(key).to_bytes(4, "big") + key + len(value).to_bytes(4, "big") + value)
        if key.startswith(b"e"):
            events += 1
        elif key.startswith(b"h"):
            heads.append(json.loads(value))
        elif key.startswith(PREFIX):
            positions[key[len(PREFIX) :].decode()] = Position.decode(value).next
        elif key.startswith(gaps_of.PREFIX):
            gap = gaps_of.Gap.from_row(key, value)
            gaps.append([gap.topic, gap.start, gap.end])
    return {
        "digest": digest.hexdigest(),
        "events": events,
        "folded": sum(head["folded"] for head in heads),
        "counted": sum(head["counted"] for head in heads),
        "positions": positions,
        "gaps": gaps,
    }


def create(options: dict[str, Any]) -> Engine:
    config = EngineConfig(
        app_id=options["app"],
        brokers=options["brokers"],
        data_dir=Path(options["data_dir"]),
        instance_id=options["name"],
        web_host="127.0.0.1",
        web_port=options["port"],
        web_url=f"http://127.0.0.1:{options['port']}",
        guarantee=options["guarantee"],
        session_timeout_s=options["session_timeout_s"],
        heartbeat_interval_s=0.3,
        rebalance_timeout_s=10.0,
        standby_replicas=options["standby_replicas"],
        stop_grace_s=options["stop_grace_s"],
        rocksdb_memory_bytes=64 << 20,
        batch_max_records=options["batch_max_records"],
        batch_max_bytes=options.get("batch_max_bytes", 4 << 20),
        buffer_batches=4,
        commit_interval_s=0.2,
        metadata_max_age_s=options.get("metadata_max_age_s", 30.0),
    )
    slow_s = options["slow_s"]  # per step
    freeze = Path(options["freeze"])

    def struck(rows: Rows, records: Sequence[Record], partition: int, now_ms: int) -> Folding:
        time.sleep(slow_s)
        if freeze.exists():  # stop here, with a step at hand, until somebody sends SIGCONT
            freeze.unlink()
            os.kill(os.getpid(), signal.SIGSTOP)
        return (yield from fold(rows, records, partition, now_ms))

    table = TableSpec(
        TABLE,
        tuple(options["sources"]),
        options["partitions"],
        struck,
        dead_letters_to(options["dead_letters"]),
    )
    measures = Measures()
    engine = Engine(config, [table], measures)
    attach_agents(engine)

    async def state(request: web.Request) -> web.Response:
        partitions = {p: engine.rows(TABLE, p) for p in sorted(engine.active(TABLE))}
        return web.json_response(
            {
                "ready": engine.ready,
                "partitions": {p: look(rows) for p, rows in partitions.items() if rows is not None},
                "owners": {p: engine.owner(TABLE, p) for p in range(options["partitions"])},
                "measures": measures.seen,
            }
        )

    async def waits(request: web.Request) -> web.Response:
        """Where every task of the main loop stands, for a failing test: innermost last."""
        stacks = []
        for task in asyncio.all_tasks():
            frames, awaited = [], task.get_coro()
            while awaited is not None:
                frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
                if frame is not None:
                    frames.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
                awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
            stacks.append(f"{task.get_name()}: {' > '.join(frames)}")
        return web.json_response(sorted(stacks))

    engine.app.web.web_app.router.add_get("/state", state)
    engine.app.web.web_app.router.add_get("/waits", waits)
    return engine


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    sys.exit(run(create(json.loads(sys.argv[1]))))
