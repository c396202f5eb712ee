"""worker, investigator, broker: the long-running processes."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from replayer.commands import output
from replayer.commands.failures import CommandFailed, Exit
from replayer.commands.options import Broker, DataDir, Json, WebPort
from replayer.engine.versions import check_versions


def worker(*, broker: Broker = None, port: WebPort = None, data_dir: DataDir = None) -> int:
    """Run a worker: it materialises timelines from the event topics and answers over HTTP. All settings count."""
    check_versions()
    from replayer.app import run_worker
    from replayer.settings import load

    return run_worker(load(broker=broker, web_port=port, data_dir=data_dir))


def investigator(*, broker: Broker = None, port: WebPort = None, data_dir: DataDir = None) -> int:
    """Run an investigator: it takes commands from replay-commands and runs each replay in a group of its own."""
    check_versions()
    from replayer.app import run_investigator
    from replayer.settings import load

    return run_investigator(load(broker=broker, web_port=port, data_dir=data_dir))


def broker(
    *,
    port: Annotated[
        int, Parameter(validator=Number(gte=0, lte=65_535), help="where clients connect; 0 is a free port, and is said")
    ] = 0,
    data_dir: Annotated[
        Path | None, Parameter(help="keep the data here; without it, it is thrown away at the end")
    ] = None,
    json: Json = False,
) -> int:
    """Run an embedded Apache Kafka on loopback in the foreground, until Ctrl-C. For laptops and tests."""
    from replayer.kafka.broker import EmbeddedBroker

    stopped = threading.Event()

    def stop(*_: object) -> None:
        stopped.set()
        raise KeyboardInterrupt  # a start may take minutes, the first time

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        with EmbeddedBroker(port=port or None, data_dir=data_dir) as embedded:
            if json:
                output.say_json(
                    {"bootstrap": embedded.bootstrap, "pid": embedded.pid, "data_dir": str(embedded.data_dir)}
                )
            else:
                kept = f"data is kept in {data_dir}" if data_dir else "data is thrown away at the end"
                output.say(f"Kafka is ready at {embedded.bootstrap}; {kept}; Ctrl-C ends it.")
                output.say(f"For the other commands: export REPLAYER_BROKER={embedded.bootstrap}")
            while embedded.running:
                stopped.wait(0.5)
            # The end of the log itself: with a temporary directory the file is gone when this is read.
            where = f" ({embedded.log_file})" if data_dir else ""
            raise CommandFailed(
                f"The broker's Java process ended by itself. Its log{where} ends:\n{embedded.log_tail()}"
            )
    except KeyboardInterrupt:
        return Exit.OK
