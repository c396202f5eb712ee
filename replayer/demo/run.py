"""demo: the command, and how it ends: by itself, by Ctrl-C, by SIGTERM, by a child that died."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from replayer.commands import output
from replayer.commands.failures import Exit
from replayer.variables import DEMO_EXIT

_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def demo(
    *,
    exit_: Annotated[
        bool, Parameter(name="--exit", env_var=DEMO_EXIT.name, negative="", help="end by itself when all is shown")
    ] = False,
    workflows: Annotated[int, Parameter(validator=Number(gte=10, lte=10_000), help="how many cases")] = 60,
) -> int:
    """Show everything on this machine: Kafka, a worker, an investigator, a workload, a timeline, an investigation.

    Nothing of it outlives the command, and your REPLAYER_ settings are not used: it brings its own Kafka.
    """
    from replayer.demo.show import Show

    for number in _ENDINGS:
        signal.signal(number, _interrupt)
    directory = Path(tempfile.mkdtemp(prefix="replayer-demo-"))
    shown = failed = False
    try:
        with ExitStack() as stack:
            try:
                show = Show(stack, directory)
                show.all(workflows)
                shown = True
                show.say_where(stays=not exit_)
                while not exit_:
                    show.check()
                    time.sleep(0.5)
            finally:
                for number in _ENDINGS:  # what follows is the cleaning up: impatience must not cut it short
                    signal.signal(number, signal.SIG_IGN)
    except KeyboardInterrupt:
        if not shown:
            raise
        output.stdout().print("\nStopped; nothing is left behind.")
    except Exception:
        failed = True
        output.complain(f"what the demo's processes wrote is kept in {directory}")
        raise
    finally:
        if not failed:
            shutil.rmtree(directory, ignore_errors=True)
    return Exit.OK


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
