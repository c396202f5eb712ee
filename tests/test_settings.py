"""Settings: where they come from, what is refused, and that every refusal names its variable and says what to do."""

from __future__ import annotations

import hashlib
import json

import pytest

from replayer.settings import Settings, SettingsError, explain, load, unknown, variable
from topics.mapping import REQUIRED

HASH = hashlib.sha256(b"let me in").hexdigest()
TOKENS = json.dumps([{"name": "ann", "role": "reader", "sha256": HASH}])


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    import os

    for name in list(os.environ):
        if name.startswith("REPLAYER_"):
            monkeypatch.delenv(name)


def row(settings, name):
    return next(row for row in explain(settings) if row.name == name)


def test_an_argument_beats_the_environment_beats_the_file_beats_the_default(monkeypatch, tmp_path):
    file = tmp_path / "replayer.toml"
    file.write_text('web_port = 1001\npartitions = 7\napp_id = "from-file"\n')
    monkeypatch.setenv("REPLAYER_CONFIG", str(file))
    monkeypatch.setenv("REPLAYER_WEB_PORT", "1002")
    monkeypatch.setenv("REPLAYER_PARTITIONS", "8")

    settings = load(web_port=1003, data_dir=None)

    found = {name: (row(settings, name).value, row(settings, name).source) for name in row_names()}
    assert found["web_port"] == ("1003", "argument")
    assert found["partitions"] == ("8", "environment")
    assert found["app_id"] == ("from-file", "file")
    assert found["data_dir"] == (".data", "default")


def test_tokens_of_a_file_say_that_they_are_its(monkeypatch, tmp_path):
    token = f'[{{"name": "ann", "role": "reader", "sha256": "{"0" * 64}"}}]'
    (tmp_path / "tokens.json").write_text(token)
    monkeypatch.setenv("REPLAYER_TOKENS_FILE", str(tmp_path / "tokens.json"))
    assert row(load(), "tokens").source == "tokens_file"
    monkeypatch.setenv("REPLAYER_TOKENS", token.replace("ann", "bob"))
    assert row(load(), "tokens").source == "environment and tokens_file"


def row_names():
    return list(Settings.model_fields)


def test_settings_alone_read_no_environment(monkeypatch):
    monkeypatch.setenv("REPLAYER_WEB_PORT", "1")
    assert Settings().web_port == 6066


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Settings().web_port = 1


def test_every_setting_has_help_and_a_variable():
    for entry in explain(Settings()):
        assert entry.name is None or entry.variable == "REPLAYER_" + entry.name.upper()
        assert len(entry.help) > 8, f"{entry.variable} has no help"


def test_an_unset_broker_is_an_error_only_where_it_is_needed():
    settings = load()
    with pytest.raises(SettingsError, match="REPLAYER_BROKER is not set: name your Kafka brokers"):
        _ = settings.brokers
    assert load(broker=" a:1, b:2 ").brokers == ["a:1", "b:2"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("broker", "localhost"),
        ("broker", "kafka://h:1"),
        ("broker", " , "),
        ("broker", "h:0"),
        ("broker", "h:65536"),
        ("broker", "a..b:9"),
        ("broker", "[::1]"),
        ("broker", f"{'x' * 64}.example:9092"),
        ("web_port", "eighty"),
        ("web_port", "0"),
        ("partitions", "0"),
        ("guarantee", "maybe"),
        ("tokens", "not json"),
        ("tokens", '[{"name": "ann", "role": "king", "sha256": "00"}]'),
        ("tokens_file", "/does/not/exist"),
        ("foreign_topics", "not json"),
        ("foreign_topics", '[{"topic": "calls"}]'),
        ("foreign_topics", '[{"topic": "..", "partitions": 3}]'),
        ("foreign_topics", '[{"topic": "tool-events", "partitions": 3}]'),
        ("foreign_topics", '[{"topic": "rekeyed-events", "partitions": 3}]'),
        ("foreign_topics", '[{"topic": "calls", "partitions": 3}, {"topic": "calls", "partitions": 3}]'),
        ("foreign_topics", '[{"topic": "calls", "partitions": 3, "events": [{"fields": {"event_id": "id"}}]}]'),
        ("app_id", "with space"),
        ("web_url", "worker-0:6066"),
        ("session_timeout_s", "NaN"),
    ],
)
def test_a_wrong_value_names_its_variable(monkeypatch, name, value):
    monkeypatch.setenv(variable(name), value)
    with pytest.raises(SettingsError) as refused:
        load()
    assert all(problem.startswith(variable(name)) for problem in refused.value.problems)


def test_a_mapping_that_cannot_work_names_its_rule_and_what_to_do(monkeypatch, tmp_path):
    file = tmp_path / "replayer.toml"
    monkeypatch.setenv("REPLAYER_CONFIG", str(file))
    topic = '[[foreign_topics]]\ntopic = "calls"\npartitions = 3\n[[foreign_topics.events]]\n'
    rules = {name: "id" for name in REQUIRED} | {"event_type": "'tool.call_completed'", "data.call_id": "id"}
    for more, said in (
        ({"data.tool": "id"}, "data.tool: ToolCallCompleted has no such field; known are call_id, tool_name"),
        ({}, "data.tool_name: tool.call_completed says it, so there must be a rule for it"),
        ({"data.tool_name": "id["}, "data.tool_name: 'id[' is not JMESPath"),
    ):
        fields = "".join(f'"{name}" = "{rule}"\n' for name, rule in {**rules, **more}.items())
        file.write_text(f"{topic}[foreign_topics.events.fields]\n{fields}")
        with pytest.raises(SettingsError) as refused:
            load()
        (problem,) = refused.value.problems
        assert problem.startswith(f"REPLAYER_FOREIGN_TOPICS[0][events][0]: {said}"), problem
    file.write_text(f"{topic}[foreign_topics.events.fields]\n{fields.replace('id[', 'id')}")
    assert row(load(), "foreign_topics").value == "calls (3 partitions, 1 mappings)"


def test_every_problem_is_told_at_once(monkeypatch):
    monkeypatch.setenv("REPLAYER_WEB_PORT", "x")
    monkeypatch.setenv("REPLAYER_PARTITIONS", "y")
    with pytest.raises(SettingsError) as refused:
        load()
    assert len(refused.value.problems) == 2


def test_a_file_that_is_wrong_is_named(monkeypatch, tmp_path):
    file = tmp_path / "replayer.toml"
    monkeypatch.setenv("REPLAYER_CONFIG", str(file))
    with pytest.raises(SettingsError, match=r"REPLAYER_CONFIG names .* cannot be read"):
        load()
    file.write_text("web_port = ")
    with pytest.raises(SettingsError, match="not valid TOML"):
        load()
    file.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="not valid TOML"):
        load()
    for wrong, named in (("tokens_file = 5", "TOKENS_FILE"), (f'tokens = 5\ntokens_file = "{file}"', "TOKENS")):
        file.write_text(wrong)
        with pytest.raises(SettingsError, match=f"REPLAYER_{named}: "):
            load()
    file.write_text("web_prot = 1")
    with pytest.raises(SettingsError, match="web_prot: no such setting"):
        load()


def test_an_empty_variable_counts_as_unset(monkeypatch):
    monkeypatch.setenv("REPLAYER_TOKENS", "")
    monkeypatch.setenv("REPLAYER_WEB_PORT", "")
    assert load().web_port == 6066


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_no_tokens(host):
    assert load(web_host=host).tokens == ()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "timelines.example"])
def test_any_other_address_needs_tokens(host):
    with pytest.raises(SettingsError, match=r"would let anyone .* set REPLAYER_TOKENS"):
        load(web_host=host, web_url="http://a:1")
    settings = load(web_host=host, web_url="http://a:1", tokens=json.loads(TOKENS))
    assert settings.tokens[0].sha256 == HASH


def test_listening_everywhere_needs_an_address_for_the_others():
    with pytest.raises(SettingsError, match="REPLAYER_WEB_URL must be set"):
        load(web_host="0.0.0.0", tokens=json.loads(TOKENS))


def test_tokens_of_the_file_and_of_the_environment_add_up(monkeypatch, tmp_path):
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps([{"name": "bob", "role": "admin", "sha256": HASH}]))
    monkeypatch.setenv("REPLAYER_TOKENS", TOKENS)
    monkeypatch.setenv("REPLAYER_TOKENS_FILE", str(file))
    assert [token.name for token in load().tokens] == ["ann", "bob"]
    file.write_text(TOKENS)
    with pytest.raises(SettingsError, match="two tokens have the same name"):
        load()
    file.write_text("{}")
    with pytest.raises(SettingsError, match="must hold a JSON list"):
        load()


def test_secrets_appear_nowhere(monkeypatch):
    monkeypatch.setenv("REPLAYER_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
    monkeypatch.setenv("REPLAYER_SASL_MECHANISM", "PLAIN")
    monkeypatch.setenv("REPLAYER_SASL_USERNAME", "u")
    monkeypatch.setenv("REPLAYER_SASL_PASSWORD", "hunter2")
    monkeypatch.setenv("REPLAYER_TOKENS", TOKENS)
    settings = load()
    everything = repr(settings) + str(settings) + repr(explain(settings))
    assert "hunter2" not in everything
    assert row(settings, "sasl_password").value == "********"
    assert row(settings, "tokens").value == "ann (reader)"

    monkeypatch.setenv("REPLAYER_TOKENS", '[{"name": "x", "role": "reader", "sha256": "my-plain-token"}]')
    with pytest.raises(SettingsError) as refused:
        load()
    assert "my-plain-token" not in str(refused.value)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"security_protocol": "SASL_SSL"}, ["MECHANISM", "USERNAME", "PASSWORD"]),
        ({"sasl_username": "u"}, ["SASL_USERNAME"]),
        ({"tls_ca_file": "/ca.pem"}, ["TLS_CA_FILE"]),
        ({"security_protocol": "SSL", "tls_cert_file": "/c.pem"}, ["TLS_KEY_FILE"]),
        ({"session_timeout_s": 2, "heartbeat_interval_s": 1}, ["HEARTBEAT_INTERVAL_S"]),
    ],
)
def test_what_does_not_go_together_is_refused(values, named):
    with pytest.raises(SettingsError) as refused:
        load(**values)
    for name in named:
        assert name in str(refused.value)


def test_a_worker_has_a_name_and_a_directory_of_its_own():
    first, second = load(web_port=1), load(web_port=2)
    assert first.instance == load(web_port=1).instance
    assert first.instance_dir != second.instance_dir
    assert load(instance_id="worker-0").instance == "worker-0"
    assert first.url == "http://127.0.0.1:1"
    assert load(web_host="::1").url == "http://[::1]:6066"
    assert first.investigator_app_id != first.app_id


def test_a_misspelt_variable_is_pointed_out_and_a_foreign_one_is_not():
    assert unknown({"REPLAYER_WEB_PROT": "1", "REPLAYER_BROKER": "a:1", "REPLAYER_CONFIG": "x", "PATH": ""}) == [
        "REPLAYER_WEB_PROT is not a setting of replayer; did you mean REPLAYER_WEB_PORT?"
    ]
    assert unknown({"REPLAYER_WORKER_SERVICE_HOST": "10.0.0.1"}) == []
