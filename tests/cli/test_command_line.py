"""What the command line says about itself, and how it refuses."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from replayer.cli import COMMANDS, main
from replayer.commands import replay
from tests.cli.running import Command, sentence
from topics.catalogue import TEMPLATE_USAGE, TOPICS
from topics.registry import EVENT_TYPES

HEAVY = ("faust", "mode", "aiokafka", "rocksdict", "aiohttp", "pydantic", "pydantic_settings", "msgspec", "jgo")


def test_help_names_every_command_and_the_exit_codes(replayer: Command) -> None:
    done = replayer("--help", COLUMNS="120")
    assert done.returncode == 0
    assert done.stderr == ""
    for words, _, _ in COMMANDS:
        assert words.split()[0] in done.stdout
    assert "4 broker or worker" in " ".join(done.stdout.split())


def test_help_imports_nothing_heavy() -> None:
    asked = (
        f"import sys; from replayer.cli import main; main(['--help']); print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_explains_itself() -> None:
    asked = (
        "import sys; from replayer.cli import main; "
        "sys.exit(max(main([*words.split(), '--help']) for words in sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked, *(words for words, _, _ in COMMANDS)],
        capture_output=True,
        text=True,
        check=False,
        env={"COLUMNS": "200"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    for words, _, _ in COMMANDS:
        assert f"Usage: replayer {words}" in done.stdout


STARTED = ["replay", "start", "--name", "n", "--purpose", "p", "--everything"]


@pytest.mark.parametrize("words", [words for words, _, _ in COMMANDS])
def test_an_option_that_no_command_has_is_a_sentence_that_names_the_commands_own_help(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = ["--name", "n", "--purpose", "p"] if words == "replay start" else []
    assert main([*words.split(), *needed, "--bogus"]) == 2
    told = capsys.readouterr()
    assert told.err == f"replayer: Unknown option: --bogus. `replayer {words} --help` says more.\n"
    assert told.out == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tpoics"], "There is no command tpoics; did you mean topics"),
        (["topics", "creat"], "did you mean topics create? `replayer topics --help` says more."),
        (["topics", "nonsense"], "there are topics create, topics check, topics skew"),
        ([""], "There is no command without a name"),
        (["worker", "now"], "now: one word or more too many. `replayer worker --help`"),
        (["timeline"], "ID"),
        (["simulate", "--poison", "2"], "--poison"),
        (["simulate", "--workflows", "many"], "--workflows"),
        (["broker", "--what"], "--what"),
        (["broker", "--port", "70000"], "--port"),
        (["broker", "--port", "-5"], "--port"),
        (["timeline", "\udcff"], "no UTF-8"),
        (["timeline", "w", "--url", "http://[::1"], "http://[::1 is no http://host:port"),
        (["timeline", "w", "--url", "http://127.0.0.1:port"], "is no http://host:port"),
        (["timeline", "w", "--url", "http://a b"], "is no http://host:port"),
        (["replay", "start", "--name", "n", "--purpose", "p"], "--everything"),
        (["replay", "start", "--name", "n", "--purpose", "p", "--workflow", "w"], "--tenant"),
        (["replay", "start", "--name", "n", "--purpose", "p", "--everything", "--tenant", "t"], "--tenant goes with"),
        (
            [*STARTED, "--since", "2026-02-01T00:00:00Z", "--until", "2026-01-01T00:00:00Z"],
            "--since and --until: end must be after start.",
        ),
        ([*STARTED, "--wait", "--url", "nowhere"], "nowhere is no http://host:port"),
        (["replay", "start", "--name", "n", "--purpose", "p", "--everything", "--id", "a/b"], "replay_id"),
    ],
)
def test_a_wrong_command_line_is_a_sentence_and_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLAYER_BROKER", "127.0.0.1:1")
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.err.startswith("replayer: ")
    assert said in told.err
    assert told.out == ""


def test_a_replay_that_was_asked_for_is_named_though_nobody_can_say_how_it_fares(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "_send", lambda *_: None)
    monkeypatch.setenv("REPLAYER_BROKER", "127.0.0.1:1")
    asked = [*STARTED, "--id", "inc-7", "--url", "http://127.0.0.1:1"]
    assert main([*asked, "--wait"]) == 4
    assert "Replay inc-7 was asked for, but: No worker answers" in capsys.readouterr().err
    assert main(asked) == 0
    told = capsys.readouterr()
    assert "Replay inc-7 was asked for: replayer replay show inc-7" in told.out
    assert "Whether replay inc-7 is accepted is not known: No worker answers at http://127.0.0.1:1" in told.err
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accepted"] is None


def test_schemas_of_everything_on_every_topic(replayer: Command) -> None:
    schemas = json.loads(replayer("schemas").stdout)
    assert set(schemas) == {*EVENT_TYPES, "replay-commands", "replay-progress", "replay-results", "dead-letters"}
    assert {schema["x-topic"] for schema in schemas.values()} == {
        topic.name for topic in TOPICS if topic is not TEMPLATE_USAGE
    }
    for name in EVENT_TYPES:
        assert schemas[name]["properties"]["event_type"]["const"] == name
        assert schemas[name]["properties"]["workflow_id"]["x-classification"] == "internal"
    listed = replayer("schemas", "--names").stdout
    assert all(name in listed for name in schemas)


def test_schema_of_one_kind(replayer: Command) -> None:
    assert json.loads(replayer("schemas", "policy.evaluated").stdout)["x-topic"] == "policy-events"
    assert "replayer-reason" in json.loads(replayer("schemas", "dead-letters").stdout)["properties"]
    refused = replayer("schemas", "policy.evalated")
    assert refused.returncode == 3
    assert "did you mean policy.evaluated" in sentence(refused)


SECRETS = {
    "REPLAYER_SECURITY_PROTOCOL": "SASL_SSL",
    "REPLAYER_SASL_MECHANISM": "PLAIN",
    "REPLAYER_SASL_USERNAME": "ann",
    "REPLAYER_SASL_PASSWORD": "hunter2hunter2",
    "REPLAYER_TLS_KEY_PASSWORD": "swordfish",
    "REPLAYER_TOKENS": json.dumps([{"name": "ops", "role": "admin", "sha256": "ab" * 32}]),
}


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_config_masks_secrets_and_says_where_values_come_from(replayer: Command, form: list[str]) -> None:
    done = replayer("config", *form, **SECRETS)
    assert done.returncode == 0
    for secret in ("hunter2hunter2", "swordfish", "ab" * 32):
        assert secret not in done.stdout + done.stderr
    if form:
        rows = {row["variable"]: row for row in json.loads(done.stdout)}
        assert rows["REPLAYER_SASL_USERNAME"]["value"] == "ann"
        assert rows["REPLAYER_SASL_USERNAME"]["source"] == "environment"
        assert rows["REPLAYER_SASL_PASSWORD"]["value"].strip("*") == ""
        assert rows["REPLAYER_PARTITIONS"]["source"] == "default"
        assert all(row["help"] for row in rows.values())
    else:
        assert "REPLAYER_WEB_PORT" in done.stdout


def test_config_warns_of_a_misspelt_setting(replayer: Command) -> None:
    done = replayer("config", "--json", REPLAYER_PARTITION="8")
    assert done.returncode == 0
    assert "did you mean REPLAYER_PARTITIONS" in done.stderr
    json.loads(done.stdout)


def test_a_wrong_setting_is_named(replayer: Command) -> None:
    done = replayer("config", REPLAYER_PARTITIONS="many", REPLAYER_WEB_PORT="99999999")
    assert done.returncode == 2
    assert "REPLAYER_PARTITIONS" in sentence(done)
    assert "REPLAYER_WEB_PORT" in sentence(done)


BROKER_COMMANDS = (
    ["topics", "create"],
    ["topics", "check"],
    ["simulate", "--workflows", "2"],
    ["replay", "start", "--name", "n", "--purpose", "p", "--everything"],
)


@pytest.mark.parametrize("arguments", BROKER_COMMANDS, ids=" ".join)
def test_no_broker_is_a_sentence_naming_the_address_and_exit_code_4(replayer: Command, arguments: list[str]) -> None:
    done = replayer(*arguments, "--broker", "127.0.0.1:1")
    assert done.returncode == 4
    assert "127.0.0.1:1" in sentence(done)


@pytest.mark.parametrize("arguments", [["worker"], ["investigator"], *BROKER_COMMANDS], ids=" ".join)
def test_no_broker_named_is_wrong_use(replayer: Command, arguments: list[str]) -> None:
    done = replayer(*arguments)
    assert done.returncode == 2
    assert "REPLAYER_BROKER is not set" in sentence(done)
    assert done.stderr.count("\n") == 1


def test_a_token_that_fits_no_header_is_wrong_use_and_is_not_quoted(replayer: Command) -> None:
    for token in ("hunter2\nX-More: 1", "hünter2"):
        done = replayer("timeline", "w", "--url", "http://127.0.0.1:1", REPLAYER_API_TOKEN=token)
        assert done.returncode == 2
        assert "REPLAYER_API_TOKEN" in sentence(done)
        assert "nter2" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["timeline", "w", "--tenant", "t"], ["replay", "show", "r"], ["replay", "results", "r"]], ids=" ".join
)
def test_no_worker_is_a_sentence_naming_the_address_and_exit_code_4(replayer: Command, arguments: list[str]) -> None:
    done = replayer(*arguments, "--url", "http://127.0.0.1:1", REPLAYER_BROKER="127.0.0.1:1")
    assert done.returncode == 4
    assert "http://127.0.0.1:1" in sentence(done)


def test_json_into_a_pipe_nobody_reads_is_no_crash(replayer: Command) -> None:
    shell = f"{sys.executable} -m replayer.cli schemas | head -c 10"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell], capture_output=True, text=True, check=False)
    assert done.stderr == ""
