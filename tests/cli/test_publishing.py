"""Commands against a real broker: topics, simulate, import, and a broker of their own."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from replayer.cli import main
from replayer.kafka.admin import LogAdmin
from replayer.kafka.partitioner import partition_of
from replayer.kafka.reader import LogReader
from replayer.storage.artefacts import ArtefactStore
from tests.cli.running import Command, sentence
from tests.e2e.roles import until
from topics.catalogue import DEFAULT_PARTITIONS, SOURCES
from topics.codec import Event, decode
from topics.fields import ArtifactRef

PARTITIONS = [TopicPartition(topic.name, number) for topic in SOURCES for number in range(DEFAULT_PARTITIONS)]

pytestmark = pytest.mark.broker


def ends(broker: str) -> dict[TopicPartition, int]:
    async def ask() -> dict[TopicPartition, int]:
        async with LogAdmin([broker]) as admin:
            return await admin.end_offsets(PARTITIONS)

    return asyncio.run(ask())


def appended(broker: str, before: dict[TopicPartition, int]) -> list[ConsumerRecord]:
    """What was appended to the sources since."""
    after = ends(broker)

    async def read() -> list[ConsumerRecord]:
        async with LogReader([broker]) as reader:
            spans = {partition: (before[partition], after[partition]) for partition in PARTITIONS}
            return [record async for batch in reader.read(spans) for record in batch.records]

    return asyncio.run(read())


def test_topics_are_created_once_and_checked(
    broker: str, replayer: Command, cluster: dict[str, str], unique: Callable[[str], str]
) -> None:
    own = {**cluster, "REPLAYER_APP_ID": unique("cli")}
    missing = replayer("topics", "check", **own)
    assert missing.returncode == 1
    assert f"{own['REPLAYER_APP_ID']}-timelines-changelog" in sentence(missing)
    made = json.loads(replayer("topics", "create", "--json", **own).stdout)
    assert all(own["REPLAYER_APP_ID"] in name for name in made["created"])
    assert {topic.name for topic in SOURCES} <= set(made["existed"])
    assert json.loads(replayer("topics", "create", "--json", **own).stdout)["created"] == []
    fits = replayer("topics", "check", **own)
    assert (fits.returncode, fits.stderr) == (0, "")


def test_topics_that_do_not_fit_are_exit_code_1(replayer: Command, cluster: dict[str, str]) -> None:
    done = replayer("topics", "check", "--json", **cluster, REPLAYER_PARTITIONS="3")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert not told["ok"]
    assert any("REPLAYER_PARTITIONS" in problem for problem in told["problems"])


def test_simulate_publishes_what_it_says_keyed_by_workflow(
    broker: str, replayer: Command, cluster: dict[str, str], tmp_path: Path
) -> None:
    before = ends(broker)
    arguments = ("simulate", "--workflows", "12", "--seed", "5", "--poison", "0.05", "--duplicates", "0.1", "--json")
    done = replayer(*arguments, "--start", "2026-02-03T04:05:06", **cluster)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    records = appended(broker, before)
    assert len(records) == told["records"] == sum(told["by_kind"].values())
    events = [event for record in records if isinstance(event := decode(record.value), Event)]
    assert len(records) - len(events) == told["by_kind"]["poison"] > 0
    assert len(events) - len({event.event_id for event in events}) == told["by_kind"]["duplicate"] > 0
    assert len({event.workflow_id for event in events}) == told["workflows"] == 12
    for record in records:
        assert record.partition == partition_of(record.key, DEFAULT_PARTITIONS)
        if isinstance(event := decode(record.value), Event):
            assert event.workflow_id.encode() == record.key
    store = ArtefactStore(tmp_path / "artefacts")
    refs = list(refs_in([json.loads(record.value) for record in records if isinstance(decode(record.value), Event)]))
    assert refs
    assert all(store.get(ArtifactRef(**ref)) is not None for ref in refs if "media_type" in ref)

    before = ends(broker)
    assert replayer(*arguments, "--start", "2026-02-03T04:05:06", **cluster).returncode == 0
    assert sorted((r.topic, r.value or b"") for r in appended(broker, before)) == sorted(
        (r.topic, r.value or b"") for r in records
    ), "the same seed and start give the same bytes"


def refs_in(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "uri" in value:
            yield value
        for inner in value.values():
            yield from refs_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from refs_in(inner)


def test_simulate_keeps_the_rate(replayer: Command, cluster: dict[str, str]) -> None:
    done = replayer("simulate", "--workflows", "4", "--seed", "1", "--rate", "60", "--json", **cluster)
    told = json.loads(done.stdout)
    assert told["records"] / told["seconds"] < 75
    assert told["seconds"] > 1


def test_simulate_without_end_stops_at_ctrl_c_and_reports(broker: str, cluster: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "replayer.cli", "simulate", "--workflows", "0", "--rate", "200", "--json"]
    variables = {**os.environ, **cluster, "REPLAYER_ARTEFACT_DIR": str(tmp_path / "artefacts")}
    before = ends(broker)
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        until(lambda: ends(broker) != before, "it publishes")
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert json.loads(out)["records"] > 0


def run_of(task: int, **fields: Any) -> dict[str, Any]:
    return {"task_id": task, "trial": 0, "reward": 1.0, "traj": [{"role": "user", "content": "hi"}], **fields}


def test_import_publishes_a_run_and_stores_its_texts(
    broker: str, replayer: Command, cluster: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "two.json.gz"
    file.write_bytes(gzip.compress(json.dumps([run_of(1), run_of(2)]).encode()))
    before = ends(broker)
    done = replayer("import", "tau-bench", str(file), "--tenant", "lab", "--json", **cluster)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["dataset"], told["workflows"], told["messages"]) == ("two", 2, 2)
    events = [decode(record.value) for record in appended(broker, before)]
    assert len(events) == told["events"] == 6
    assert {event.tenant_id for event in events} == {"lab"}
    asked = next(event for event in events if event.event_type == "workflow.request_received")
    ref = ArtifactRef(**{name: getattr(asked.data.request, name) for name in ArtifactRef.model_fields})
    assert ArtefactStore(tmp_path / "artefacts").get(ref) == b"hi"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no json", "is not JSON"),
        (b"\x1f\x8b\x00", "is not JSON"),
        (b"{}", "list of runs"),
        (b"[]", "at least one"),
        (json.dumps([run_of(1), run_of(2, traj=[{"role": "SECRET"}])]).encode(), "Run 1 of the file: traj.0.role"),
        (json.dumps([run_of(1), run_of(1)]).encode(), "Run 1 of the file"),
        (b"[" * 200_000, "is not JSON"),
    ],
)
def test_a_file_with_one_bad_run_publishes_nothing(
    cluster: dict[str, str],
    tmp_path: Path,
    content: bytes,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "bad.json"
    file.write_bytes(content)
    before = ends(cluster["REPLAYER_BROKER"])
    monkeypatch.setenv("REPLAYER_BROKER", cluster["REPLAYER_BROKER"])
    assert main(["import", "tau-bench", str(file)]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "SECRET" not in told
    assert ends(cluster["REPLAYER_BROKER"]) == before


def test_import_of_what_is_no_file_or_no_gzip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPLAYER_BROKER", "127.0.0.1:1")
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(b"[" + b"1," * 10_000 + b"1]")[:40])
    (tmp_path / "not.json.gz").write_bytes(b"[]")
    for name in ("absent.json", "cut.json.gz", "not.json.gz", "."):
        assert main(["import", "tau-bench", str(tmp_path / name)]) == 2
        assert "cannot be read" in capsys.readouterr().err


class broker_process:
    """`replayer broker` in the foreground of a process of its own, until the block ends by SIGTERM."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "replayer.cli", "broker", "--json", *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=directory
        )

    def __enter__(self) -> str:
        assert self.process.stdout is not None
        self.announced = json.loads(self.process.stdout.readline())
        return str(self.announced["bootstrap"])

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.said = self.process.communicate(timeout=60)


def test_broker_runs_until_it_is_told_to_stop(tmp_path: Path, replayer: Command) -> None:
    running = broker_process(tmp_path)
    with running as bootstrap:
        assert not bootstrap.endswith(":9092"), "where no port is asked for it is a free one"
        taken = replayer("broker", "--port", bootstrap.rpartition(":")[2])
        assert taken.returncode == 1
        assert "taken" in sentence(taken)
    assert running.process.returncode == 0
    assert not Path(running.announced["data_dir"]).exists(), "thrown away"
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(bootstrap.rpartition(":")[2]))) != 0


def test_broker_keeps_its_data_where_asked(tmp_path: Path, replayer: Command) -> None:
    kept = ("--data-dir", str(tmp_path / "kafka"))
    with broker_process(tmp_path, *kept) as bootstrap:
        too_early = replayer("simulate", "--workflows", "1", REPLAYER_BROKER=bootstrap)
        assert too_early.returncode == 1
        assert "replayer topics create" in sentence(too_early)
        assert replayer("topics", "create", REPLAYER_BROKER=bootstrap).returncode == 0
    with broker_process(tmp_path, *kept) as bootstrap:
        assert replayer("topics", "check", REPLAYER_BROKER=bootstrap).returncode == 0


#: The command line, with less patience than people have.
IMPATIENT = """
import sys
from replayer.commands import publishing
publishing.SILENCE_S = 2.0
from replayer.cli import main
sys.exit(main(sys.argv[1:]))
"""


@contextmanager
def publisher(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """One that would go on for ever, but for the block's end."""
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_broker_that_dies_is_told_by_all_who_used_it(tmp_path: Path, replayer: Command) -> None:
    """Whoever publishes gives up after a while, and at Ctrl-C at once; the broker's own command shows its log's end."""
    running = broker_process(tmp_path)
    with running as bootstrap, ExitStack() as stack:
        assert replayer("topics", "create", REPLAYER_BROKER=bootstrap).returncode == 0
        publish = ("simulate", "--workflows", "0", "--no-artefacts", "--json", "--broker", bootstrap)
        impatient = stack.enter_context(publisher("-c", IMPATIENT, *publish, "--rate", "50"))
        until(lambda: sum(ends(bootstrap).values()) > 0, "the first one publishes")
        patient = stack.enter_context(publisher("-m", "replayer.cli", *publish))
        until(lambda: sum(ends(bootstrap).values()) > 5000, "the second one publishes")
        with (Path(running.announced["data_dir"]) / "broker.log").open("a") as log:
            log.write("its last words\n")
        os.kill(running.announced["pid"], signal.SIGKILL)

        out, err = impatient.communicate(timeout=60)
        assert (impatient.returncode, out, err.count("\n")) == (4, "", 1), err
        assert f"The Kafka broker at {bootstrap} has not answered for 2 s and is given up." in err
        assert re.search(r" [1-9]\d* records were acknowledged", err)

        assert patient.poll() is None
        began = time.monotonic()
        patient.send_signal(signal.SIGINT)
        out, err = patient.communicate(timeout=60)
        assert time.monotonic() - began < 10
        assert patient.returncode == 0, err
        assert json.loads(out)["interrupted"] is True
        assert re.fullmatch(r"replayer: the last \d+ records were not acknowledged: .*\n", err), err
    assert running.process.returncode == 1
    assert "replayer: The broker's Java process ended by itself. Its log ends:\n" in running.said[1]
    assert running.said[1].endswith("replayer: its last words\n")
    assert not Path(running.announced["data_dir"]).exists()
