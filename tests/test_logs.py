"""Logs: one form for everybody's lines, no payload, no secret, nothing at import."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from collections import UserDict
from dataclasses import dataclass

import pytest
import structlog
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaConnectionError
from pydantic import SecretStr

from replayer import logs
from replayer.core.errors import ReplayerError

PAYLOAD = "the patient's name"


@pytest.fixture
def lines():
    """A set-up that writes JSON to memory; `lines()` gives what was written. Undone after the test."""
    root, levels = logging.root, {name: logging.getLogger(name).level for name in (*logs.CAPPED, "aiohttp.access")}
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.set_up("DEBUG", "json", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.captureWarnings(False)
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, was in levels.items():
        logging.getLogger(name).setLevel(was)


def test_our_lines_and_a_librarys_have_the_same_form(lines):
    structlog.get_logger("replayer.x").warning("a thing happened", partition=3, seconds=0.5, topics=("a", "b"))
    logging.getLogger("faust.app").warning("%s has %d partitions", "t", 4)
    ours, theirs = lines()
    assert ours["event"] == "a thing happened"
    assert (ours["partition"], ours["seconds"], ours["topics"]) == (3, 0.5, ["a", "b"])
    assert theirs["event"] == "t has 4 partitions"
    for line, name in ((ours, "replayer.x"), (theirs, "faust.app")):
        assert (line["level"], line["logger"]) == ("warning", name)
        assert line["timestamp"].endswith("Z")


def test_a_librarys_debug_lines_are_off_at_any_level(lines):
    for name in logs.CAPPED:
        logging.getLogger(f"{name}.deep").debug(PAYLOAD)
    logging.getLogger("aiohttp.access").info("GET /")
    assert lines() == []
    structlog.get_logger("replayer.x").debug("ours are on")
    assert len(lines()) == 1


def record():
    return ConsumerRecord("t", 0, 7, 0, 0, PAYLOAD.encode(), PAYLOAD.encode(), None, 1, 1, ())


@dataclass
class Fetched:
    records: list[ConsumerRecord]


@pytest.mark.parametrize(
    "value",
    [
        PAYLOAD.encode(),
        bytearray(PAYLOAD.encode()),
        ValueError(PAYLOAD),
        record(),
        [PAYLOAD.encode()],
        {"x": record()},
        Fetched([record()]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_payload_reaches_a_line(lines, value):
    structlog.get_logger("replayer.x").info("got one", value=value)
    logging.getLogger("faust.app").error("cannot: %r", value)
    logging.getLogger("mode").error("cannot: %s %d", value, 3)
    assert len(lines()) == 3
    assert PAYLOAD not in json.dumps(lines())


def raise_inside(error, cause=None):
    local = PAYLOAD  # must not be shown either
    assert local
    raise error from cause


@pytest.mark.parametrize("logger", [structlog.get_logger("replayer.x"), logging.getLogger("faust.app")])
def test_a_traceback_says_where_but_not_what_a_foreign_exception_says(lines, logger):
    try:
        raise_inside(ValueError(PAYLOAD), KeyError(PAYLOAD))
    except ValueError:
        logger.exception("it failed")
    (line,) = lines()
    assert PAYLOAD not in json.dumps(line)
    assert "raise_inside" in line["exception"]
    assert "builtins.KeyError" in line["exception"]
    assert line["exception"].endswith("builtins.ValueError")


@pytest.mark.parametrize(
    "error", [ReplayerError("set REPLAYER_X"), KafkaConnectionError("no broker"), OSError(13, "denied")], ids=repr
)
def test_errors_known_to_hold_no_record_speak(lines, error):
    try:
        raise_inside(error)
    except (ReplayerError, KafkaConnectionError, OSError) as caught:
        structlog.get_logger("replayer.x").error("it failed", exc_info=caught, reason=caught)
    (line,) = lines()
    assert line["exception"].endswith(str(error))
    assert line["reason"] == str(error)


async def test_a_task_that_nobody_waited_for_is_told_without_its_payload(lines):
    asyncio.get_running_loop().call_exception_handler(
        {
            "message": "Task exception was never retrieved",
            "exception": ValueError(PAYLOAD),
            "future": f"<Task {PAYLOAD}>",
        }
    )
    (line,) = lines()
    assert line["event"] == "Task exception was never retrieved"
    assert PAYLOAD not in json.dumps(line)


def test_secrets_are_masked(lines):
    structlog.get_logger("replayer.x").info(
        "connecting",
        sasl_password="hunter2",
        Authorization="Bearer hunter2",
        client={"sasl_plain_password": "hunter2", "mechanism": "PLAIN"},
        value=SecretStr("hunter2"),
    )
    (line,) = lines()
    assert "hunter2" not in json.dumps(line)
    assert line["client"]["mechanism"] == "PLAIN"


def test_a_warning_becomes_a_line(lines):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("careful", stacklevel=1)
    assert "careful" in lines()[0]["event"]


def test_columns_in_a_terminal_json_elsewhere_and_nothing_at_import():
    program = (
        "import logging, structlog, replayer.logs\n"
        "assert not logging.root.handlers and not structlog.is_configured()\n"
        "{}\nstructlog.get_logger('x').info('hello', n=1)"
    )

    def run(set_up: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", program.format(set_up)], capture_output=True, text=True, check=True
        )
        assert done.stdout == "", "stdout belongs to what a command prints"
        return done.stderr

    assert json.loads(run("replayer.logs.set_up()"))["event"] == "hello"
    assert "hello" in run("replayer.logs.set_up(form='console')")
    assert not run("replayer.logs.set_up(form='console')").startswith("{")
    assert run("replayer.logs.set_up('WARNING')") == ""


def test_faust_leaves_the_set_up_alone(lines, tmp_path, unique):
    """What the engine does: a Faust worker that does not set up logging itself."""
    import faust

    app = faust.App(unique("app"), broker="kafka://127.0.0.1:1", datadir=str(tmp_path), web_enabled=False)
    worker = faust.Worker(app, quiet=True, override_logging=False, redirect_stdouts=False, loglevel="DEBUG")
    before = logging.root.handlers[:]
    assert worker is not None
    assert logging.root.handlers == before
    logging.getLogger("faust").debug(PAYLOAD)
    assert lines() == []


def test_only_speaking_exceptions_are_quoted() -> None:
    assert logs.spoken(ReplayerError("a sentence")) == "a sentence"
    try:
        raise ValueError("canary-in-a-record")
    except ValueError as error:
        said = logs.spoken(error)
    assert "canary" not in said
    assert said.startswith("ValueError at ")


def test_a_table_is_named_and_not_read(lines):
    class Database(UserDict):
        def __iter__(self):
            raise AssertionError("all of it is read")

    logging.getLogger("mode").error("Error while stopping %r", Database())
    logging.getLogger("mode").error("Error while stopping %r", {"table": Database()})
    assert [line["event"] for line in lines()] == [
        "Error while stopping '<Database>'",
        "Error while stopping {'table': '<Database>'}",
    ]
