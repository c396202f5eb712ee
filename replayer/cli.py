"""The `replayer` command: what can be said, and how each ends (`replayer.commands.failures` has the exit codes).

Commands are named here and imported when they are called, so that `replayer --help` is quick.
"""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence

from cyclopts import App, CycloptsError, UnknownCommandError, UnusedCliTokensError

from replayer.commands import failures, output
from replayer.commands.failures import Exit
from replayer.core.errors import ReplayerError

HELP = """Why did the AI workflow do that? Timelines of workflows and investigation replays, from Kafka.

Exit codes: 0 done, 1 failed, 2 used wrongly, 3 not found, 4 broker or worker unreachable, 5 credentials refused.
Settings are environment variables: `replayer config` lists them, and the others that are read.
"""

#: (words, where the function is, one line of help), in the order of `replayer --help`.
COMMANDS: tuple[tuple[str, str, str], ...] = (
    ("demo", "replayer.demo.run:demo", "Broker, worker, investigator, a workload, one timeline, one investigation."),
    ("broker", "replayer.commands.roles:broker", "Run an embedded Apache Kafka, for laptops and tests."),
    ("worker", "replayer.commands.roles:worker", "Run a worker: timelines, and answers over HTTP."),
    ("investigator", "replayer.commands.roles:investigator", "Run an investigator: replays."),
    ("topics create", "replayer.commands.topics:create", "Create every topic that is missing."),
    ("topics check", "replayer.commands.topics:check", "Compare the cluster's topics with what they should be."),
    ("topics skew", "replayer.commands.skew:skew", "Report the fullest partitions and the hottest keys."),
    ("simulate", "replayer.commands.simulate:simulate", "Publish a lifelike workload, with faults if you like."),
    ("import tau-bench", "replayer.commands.importing:tau_bench", "Publish recorded tau-bench runs as workflows."),
    ("timeline", "replayer.commands.timeline:timeline", "Show what happened in a workflow."),
    ("replay start", "replayer.commands.replay:start", "Start an investigation replay."),
    ("replay show", "replayer.commands.replay:show", "Show how a replay fares."),
    ("replay results", "replayer.commands.results:results", "Read the results of a replay."),
    (
        "schemas",
        "replayer.commands.describe:schemas",
        "Print the JSON Schemas of all that is on the topics, events first.",
    ),
    (
        "schemas check",
        "replayer.commands.comparing:check",
        "Tell compatible changes of schemas from breaking ones.",
    ),
    ("config", "replayer.commands.describe:config", "Print every setting, its value and where it came from."),
)
GROUPS = {
    "topics": "Create and check topics.",
    "import": "Publish recorded runs as workflows.",
    "replay": "Start investigations and read their results.",
    "schemas": "Print the JSON Schemas of all that is on the topics, or compare two sets of them.",
}


def application(arguments: Sequence[str] = ()) -> App:
    """The command line, nothing of it imported yet; the command that `arguments` begin with explains itself."""
    app = App(name="replayer", help=HELP, help_format="plaintext", version=_version, result_action="return_value")
    groups = {name: App(name=name, help=text, help_format="plaintext") for name, text in GROUPS.items()}
    for words, where, text in COMMANDS:
        *group, name = words.split()
        chosen = list(arguments[: len(group) + 1]) == words.split()
        if words in groups:  # a command and a group: cyclopts has no name for a group's own command
            if chosen:
                groups[words].default(_imported(where))
            continue
        (groups[group[0]] if group else app).command(where, name=name, help=None if chosen else text)
    for group_app in groups.values():
        app.command(group_app)
    return app


def _imported(where: str) -> Callable[..., object]:
    module, _, name = where.partition(":")
    found: Callable[..., object] = getattr(importlib.import_module(module), name)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's own) and return its exit code. Raises nothing."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if not all(map(_spelled, words)):
        output.complain("An argument is no UTF-8 text: everything that replayer is told goes into JSON.")
        return Exit.USAGE
    # A command says in one sentence what aiokafka says many times a second; worker and investigator set up logs anew.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL + 1)
    try:
        code = application(words)(
            words, exit_on_error=False, print_error=False, help_on_error=False, result_action="return_value"
        )
        sys.stdout.flush()
    except CycloptsError as refused:
        said = " ".join(["replayer", *_command(words), "--help"])
        output.complain(f"{_refusal(refused, words)} `{said}` says more.")
        return Exit.USAGE
    except ReplayerError as failure:
        output.complain(str(failure))
        return failures.exit_code(failure)
    except KeyboardInterrupt:
        output.complain("interrupted")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our answer has seen enough; keep Python from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except Exception as bug:  # noqa: BLE001 - the one place where everything ends; the text may quote a payload
        output.complain(f"an unexpected {type(bug).__name__}{_where(bug)}: this is a bug in replayer, please report it")
        return Exit.FAILED
    return int(code or Exit.OK)


def _version() -> str:
    from importlib.metadata import version

    return version("replayer")


def _refusal(refused: CycloptsError, words: Sequence[str]) -> str:
    """Why a command line is refused, as one sentence."""
    if isinstance(refused, UnknownCommandError):  # its own text would import every command
        group = _command(words)
        spoken = " ".join(words[: len(group) + 1]).strip() or "without a name"
        known = [known for known, _, _ in COMMANDS if known.split()[: len(group)] == group]
        # Within a group its own words decide: what is before them all have in common.
        ends = {name.split()[-1] if group else name: name for name in (known if group else [*GROUPS, *known])}
        near = [ends[end] for end in difflib.get_close_matches(spoken.split()[-1] if group else spoken, ends, 1)]
        if not near and group:
            return f"There is no command {spoken}; there are {', '.join(known)}."
        return f"There is no command {spoken}" + (f"; did you mean {near[0]}?" if near else ".")
    if isinstance(refused, UnusedCliTokensError):
        return f"{' '.join(refused.unused_tokens or ())}: one word or more too many."
    line = " ".join(str(refused).split())
    return line if line.endswith((".", "?", "!")) else f"{line}."


def _command(words: Sequence[str]) -> list[str]:
    """The words that name a command, or a group of them; none where they name nothing."""
    for count in (2, 1):
        spoken = " ".join(words[:count])
        if spoken in GROUPS or any(spoken == known for known, _, _ in COMMANDS):
            return list(words[:count])
    return []


def _spelled(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:  # bytes that were no UTF-8 stand in argv as surrogates
        return False
    return True


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f" at {trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}" if trace else ""


if __name__ == "__main__":
    sys.exit(main())
