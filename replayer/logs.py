"""The set-up of logs, once per process: everybody's lines, ours and the libraries', in one form and without a payload.

JSON lines outside a terminal, columns in one; always on stderr, stdout belongs to what a command prints.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections import deque
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, TextIO

import structlog
from aiokafka.errors import KafkaError

from replayer.core.errors import ReplayerError

MASK = "********"

#: Libraries whose debug lines hold records. Never below INFO, whatever level is asked for.
CAPPED = ("aiokafka", "faust", "mode", "asyncio", "aiohttp", "rocksdict", "requests", "urllib3")

_SECRET = re.compile(r"password|passwd|secret|token|authorization|api_?key|credential", re.IGNORECASE)

#: Exceptions whose text is known to hold no record: ours, the client's, the system's.
_SPEAKING = (ReplayerError, KafkaError, OSError, TimeoutError)


def set_up(
    level: str = "INFO", form: Literal["auto", "json", "console"] = "auto", stream: TextIO | None = None
) -> None:
    """Route structlog and stdlib logging (faust, mode, aiokafka, aiohttp, warnings) to one handler on `stream`.

    `level`: DEBUG, INFO, WARNING or ERROR, for our own lines; `stream`: stderr unless given. May be called again.
    """
    stream = stream or sys.stderr
    console = form == "console" or (form == "auto" and stream.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _mask,
        _exception,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.addFilter(_without_payload)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.dev.ConsoleRenderer(colors=stream.isatty())
                if console
                else structlog.processors.JSONRenderer(default=_shown, sort_keys=False),
            ],
        )
    )
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level)
    for name in CAPPED:
        logging.getLogger(name).setLevel(max(logging.getLevelName(level), logging.INFO))
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)  # requests are counted in the metrics
    logging.captureWarnings(True)


def _mask(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if key.startswith("_"):
            continue
        event[key] = _masked(key, value)
    return event


def _masked(key: str, value: Any) -> Any:
    if _SECRET.search(key):
        return MASK
    return _shown(value)


def spoken(error: BaseException) -> str:
    """An exception as one may tell it: its text where that is known to hold no record, else what it is and where."""
    if isinstance(error, _SPEAKING):
        return str(error)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{where}"


def _shown(value: Any) -> Any:
    """Bytes and foreign exceptions may be or hold a record: say what they are, not what they hold."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, BaseException):
        return spoken(value)
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, dict):  # not any mapping: a Faust table is one, and to show it is to read all of it
        return {str(name): _masked(str(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset | deque):
        return [_shown(item) for item in value]
    if _holds_a_record(value):
        return f"<{type(value).__name__}>"
    return str(value)


def _holds_a_record(value: Any) -> bool:
    """Records and events of any library, and whatever has fields of its own that may hold one."""
    if isinstance(value, Mapping):
        return True
    return (hasattr(value, "key") and hasattr(value, "value")) or any(
        hasattr(value, fields) for fields in ("__dataclass_fields__", "__struct_fields__", "model_fields")
    )


def _exception(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A traceback with where it happened, and the exception's own text only where that is known to hold no record."""
    given = event.pop("exc_info", None)
    if isinstance(given, BaseException):
        error: BaseException | None = given
    elif isinstance(given, tuple):
        error = given[1]
    else:
        error = sys.exc_info()[1] if given else None
    if error is not None:
        event["exception"] = "\n".join(_told(error))
    return event


def _told(error: BaseException) -> list[str]:
    lines = []
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        lines += [*_told(cause), "which led to"]
    lines += [line.rstrip() for line in traceback.format_tb(error.__traceback__)]
    said = f"{type(error).__module__}.{type(error).__qualname__}"
    return [*lines, f"{said}: {error}" if isinstance(error, _SPEAKING) else said]


def _without_payload(record: logging.LogRecord) -> bool:
    """A library's line: its arguments are looked at before they become text."""
    if record.name == "asyncio" and isinstance(record.msg, str):
        record.msg = record.msg.partition("\n")[0]  # further lines show tasks with the exceptions they ended with
    if isinstance(record.args, tuple):
        record.args = tuple(_argument(value) for value in record.args)
    elif isinstance(record.args, Mapping):
        record.args = {key: _argument(value) for key, value in record.args.items()}
    return True


def _argument(value: Any) -> Any:
    # Numbers stay numbers, for %d.
    return value if isinstance(value, int | float) else _shown(value)
