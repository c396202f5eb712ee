"""SASL and TLS reach every client, against a real broker that demands them; and what is said when nobody answers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from aiokafka import TopicPartition

from replayer.core.outcome import Send
from replayer.kafka.admin import LogAdmin
from replayer.kafka.broker import EmbeddedBroker
from replayer.kafka.connection import await_broker, check_broker, client_arguments
from replayer.kafka.errors import AccessRefused, BrokerUnreachable
from replayer.kafka.jars import java
from replayer.kafka.ports import free_port
from replayer.kafka.publisher import Publisher
from replayer.kafka.reader import LogReader
from replayer.settings import Settings, SettingsError, variable
from tests.e2e import roles
from tests.e2e.roles import Role, command, running, until
from topics.catalogue import Topic
from topics.classification import Classification

USER, PASSWORD, STORE = "replayer", "open sesame", "changeit"
JAAS = f'org.apache.kafka.common.security.plain.PlainLoginModule required username="{USER}" password="{PASSWORD}"'


def keytool(*arguments: str) -> None:
    subprocess.run([java().with_name("keytool"), *arguments, "-storepass", STORE], check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Path:
    """A broker's key and certificate for 127.0.0.1, self-signed, and the certificate as PEM."""
    directory = tmp_path_factory.mktemp("tls")
    store = str(directory / "broker.p12")
    keytool(
        *("-genkeypair", "-alias", "broker", "-keyalg", "EC", "-dname", "CN=broker", "-ext", "san=ip:127.0.0.1"),
        *("-ext", "bc:c", "-keystore", store, "-storetype", "PKCS12"),
    )
    keytool("-exportcert", "-alias", "broker", "-rfc", "-keystore", store, "-file", str(directory / "ca.pem"))
    return directory


@pytest.fixture(scope="module")
def secured(certificates):
    """{protocol: settings that work} of one broker with a listener for each protocol.

    It also makes the topics clients merely name, as clusters do unless told otherwise.
    """
    ports = {protocol: free_port("127.0.0.1") for protocol in ("SASL_PLAINTEXT", "SASL_SSL", "SSL")}
    listeners = ",".join(f"{protocol}://127.0.0.1:{port}" for protocol, port in ports.items())
    controller = free_port("127.0.0.1")
    sasl = {"sasl_mechanism": "PLAIN", "sasl_username": USER, "sasl_password": PASSWORD}
    tls = {"tls_ca_file": certificates / "ca.pem"}
    settings = {
        "SASL_PLAINTEXT": Settings(security_protocol="SASL_PLAINTEXT", broker=address(ports, "SASL_PLAINTEXT"), **sasl),
        "SASL_SSL": Settings(security_protocol="SASL_SSL", broker=address(ports, "SASL_SSL"), **sasl, **tls),
        "SSL": Settings(security_protocol="SSL", broker=address(ports, "SSL"), **tls),
    }
    broker = EmbeddedBroker(
        port=ports["SASL_PLAINTEXT"],
        protocol="SASL_PLAINTEXT",
        client=client_arguments(settings["SASL_PLAINTEXT"]),
        properties={
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": listeners,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT," + ",".join(f"{name}:{name}" for name in ports),
            "sasl.enabled.mechanisms": "PLAIN",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": f'{JAAS} user_{USER}="{PASSWORD}";',
            "listener.name.sasl_ssl.plain.sasl.jaas.config": f'{JAAS} user_{USER}="{PASSWORD}";',
            "ssl.keystore.location": str(certificates / "broker.p12"),
            "ssl.keystore.password": STORE,
            "ssl.keystore.type": "PKCS12",
            "auto.create.topics.enable": "true",
        },
    )
    with broker:
        yield settings


def address(ports, protocol):
    return f"127.0.0.1:{ports[protocol]}"


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL", "SSL"])
async def test_admin_publisher_and_reader_work(secured, unique, protocol):
    settings = secured[protocol]
    client = client_arguments(settings)
    topic = Topic(unique("t"), "key", "bytes", Classification.INTERNAL, partitions=1)
    partition = TopicPartition(topic.name, 0)
    await check_broker(settings)
    async with LogAdmin(settings.brokers, client) as admin:
        assert await admin.create([topic]) == [topic.name]
        async with Publisher(settings.brokers, client) as publisher:
            await publisher.publish_all([Send(topic.name, b"k", b"v")])
        assert await admin.end_offsets([partition]) == {partition: 1}
    async with LogReader(settings.brokers, client) as reader:
        assert [r.value async for batch in reader.read({partition: (0, 1)}) for r in batch.records] == [b"v"]


FAUST_APP = """
import sys, faust
from replayer.kafka.connection import faust_credentials
from replayer.settings import load

settings = load()
app = faust.App(
    sys.argv[1], broker=[f"kafka://{address}" for address in settings.brokers], value_serializer="raw",
    broker_credentials=faust_credentials(settings), topic_disable_leader=True, web_enabled=False, datadir=sys.argv[4],
)
source, copies = app.topic(sys.argv[2], internal=True), app.topic(sys.argv[3], internal=True)

@app.agent(source)
async def copy(stream):
    async for value in stream:
        await copies.send(value=value)

app.finalize()
faust.Worker(app, loglevel="ERROR").execute_from_commandline()
"""


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL", "SSL"])
async def test_fausts_own_clients_work(secured, unique, protocol, tmp_path):
    """A whole Faust app copies a record: its consumer, its coordinator and its producer have connected."""
    settings = secured[protocol]
    client = client_arguments(settings)
    topics = [Topic(unique(name), "k", "bytes", Classification.INTERNAL, partitions=1) for name in ("source", "copies")]
    copies = TopicPartition(topics[1].name, 0)
    async with LogAdmin(settings.brokers, client) as admin:
        await admin.create(topics)
        async with Publisher(settings.brokers, client) as publisher:
            await publisher.publish_all([Send(topics[0].name, b"k", b"v")])
        arguments = (unique("app"), topics[0].name, copies.topic, str(tmp_path))
        app = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", FAUST_APP, *arguments), env=os.environ | environment(settings)
        )
        try:
            async with asyncio.timeout(90):
                while (await admin.end_offsets([copies]))[copies] == 0:
                    assert app.returncode is None
                    await asyncio.sleep(0.1)
        finally:
            app.kill()
            await app.wait()


def environment(settings):
    """The settings as a user would give them."""
    values = settings.model_dump(exclude_defaults=True)
    plain = {key: value.get_secret_value() if key == "sasl_password" else str(value) for key, value in values.items()}
    return {variable(key): value for key, value in plain.items()}


async def test_asking_for_a_topic_does_not_make_it(secured, unique):
    """The cluster would: aiokafka's own metadata requests allow it to."""
    settings = secured["SASL_PLAINTEXT"]
    client = client_arguments(settings)
    topic = Topic(unique("never-made"), "key", "bytes", Classification.INTERNAL)
    async with (
        LogAdmin(settings.brokers, client) as admin,
        Publisher(settings.brokers, client) as publisher,
        LogReader(settings.brokers, client) as reader,
    ):
        assert len(await admin.check([topic], {topic.name})) == 1
        await publisher.publish([Send(topic.name, b"k", b"v")])
        for ask in (
            lambda: admin.end_offsets([TopicPartition(topic.name, 0)]),
            lambda: anext(reader.read({TopicPartition(topic.name, 0): (0, 1)})),
        ):
            with pytest.raises(Exception, match="does not exist"):
                await ask()
        await asyncio.sleep(0.5)
        assert topic.name not in await admin._admin.list_topics()


async def test_a_wrong_password_is_refused_at_once_also_for_workers(secured):
    wrong = secured["SASL_PLAINTEXT"].model_copy(update={"sasl_username": "nobody"})
    with pytest.raises(AccessRefused, match=r"refuses our credentials .* check REPLAYER_SASL_MECHANISM"):
        await check_broker(wrong)
    with pytest.raises(AccessRefused):
        await asyncio.wait_for(await_broker(wrong), 60)


async def test_a_certificate_that_does_not_verify_is_named(secured):
    untrusting = secured["SSL"].model_copy(update={"tls_ca_file": None})
    with pytest.raises(BrokerUnreachable, match=r"certificate does not verify .*check REPLAYER_TLS_CA_FILE"):
        await check_broker(untrusting)


async def test_the_wrong_protocol_is_a_sentence_not_a_hang(secured):
    plain = Settings(broker=secured["SASL_PLAINTEXT"].broker)
    with pytest.raises(BrokerUnreachable, match=r"REPLAYER_SECURITY_PROTOCOL \(now PLAINTEXT\)"):
        await asyncio.wait_for(check_broker(plain, timeout_s=2), 60)
    plain = Settings(broker=secured["SSL"].broker)
    with pytest.raises(BrokerUnreachable, match=r"REPLAYER_SECURITY_PROTOCOL \(now PLAINTEXT\)"):
        await asyncio.wait_for(check_broker(plain, timeout_s=2), 60)


async def test_nobody_there_is_a_sentence_naming_the_address():
    nowhere = f"127.0.0.1:{free_port('127.0.0.1')}"
    with pytest.raises(BrokerUnreachable, match=f"No Kafka broker answers at {nowhere} .*connection refused"):
        await check_broker(Settings(broker=nowhere))
    with pytest.raises(BrokerUnreachable, match=r"no-such-host\.invalid:9092"):
        await check_broker(Settings(broker="no-such-host.invalid:9092"), timeout_s=2)
    with pytest.raises(SettingsError, match="REPLAYER_BROKER is not set"):
        await check_broker(Settings())


async def test_one_answering_broker_of_several_is_enough(broker):
    await check_broker(Settings(broker=f"127.0.0.1:{free_port('127.0.0.1')},{broker}"))


async def test_a_worker_waits_for_its_broker_and_says_where_it_looks(tmp_path):
    late = EmbeddedBroker(data_dir=tmp_path)
    with structlog.testing.capture_logs() as lines:
        waiting = asyncio.create_task(await_broker(Settings(broker=late.bootstrap), longest_wait_s=0.5))
        await asyncio.sleep(1)
        assert not waiting.done()
        async with late:
            await asyncio.wait_for(waiting, 60)
    assert lines[0]["broker"] == late.bootstrap
    assert "connection refused" in lines[0]["reason"]
    assert [line["log_level"] for line in lines][-1] == "info"
    waits = [line["wait_s"] for line in lines[:-1]]
    assert waits[:2] == [0.25, 0.5]


@pytest.mark.parametrize(
    ("values", "variable"),
    [
        ({"tls_ca_file": "/not/there.pem"}, "REPLAYER_TLS_CA_FILE"),
        ({"tls_cert_file": "/not/there.pem", "tls_key_file": "/nor/there.pem"}, "REPLAYER_TLS_CERT_FILE"),
    ],
)
def test_an_unusable_tls_file_is_named(values, variable):
    with pytest.raises(SettingsError, match=f"{variable}.*cannot be used"):
        client_arguments(Settings(security_protocol="SSL", broker="a:1", **values))


def test_a_file_that_is_no_pem_is_named(tmp_path):
    (tmp_path / "ca.pem").write_text("hello")
    with pytest.raises(SettingsError, match=r"REPLAYER_TLS_CA_FILE.*cannot be used"):
        client_arguments(Settings(security_protocol="SSL", tls_ca_file=tmp_path / "ca.pem"))


def test_the_roles_themselves_run_over_sasl_and_tls(secured, certificates, unique, tmp_path):
    """Every client the product makes: Faust's, the lanes' producers, the investigator's reader and writer."""
    app = unique("secured")
    security = {
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_MECHANISM": "PLAIN",
        "SASL_USERNAME": USER,
        "SASL_PASSWORD": PASSWORD,
        "TLS_CA_FILE": str(certificates / "ca.pem"),
    }
    settings = roles.environment(secured["SASL_SSL"].broker, app, tmp_path / "data", **security)
    other = roles.environment(secured["SASL_SSL"].broker, app, tmp_path / "data", **security)
    command(settings, "topics", "create")
    worker, investigator = Role("worker", settings, tmp_path / "w"), Role("investigator", other, tmp_path / "i")
    with running(worker, investigator):
        command(settings, "simulate", "--workflows", "2", "--seed", "3")
        until(lambda: len((worker.get("/v1/workflows")[1] or {"items": []})["items"]) == 2, "both workflows are there")
        arguments = ("--everything", "--name", "tls", "--purpose", "a test", "--id", app, "--url", worker.url)
        command(settings, "replay", "start", *arguments, "--wait")
        assert worker.answer(f"/v1/replays/{app}")[1]["state"] == "COMPLETED"
        assert worker.stop() == 0
        assert investigator.stop() == 0
    assert PASSWORD not in worker.log.read_text() + investigator.log.read_text()
