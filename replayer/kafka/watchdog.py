"""Run a command and end it when the process that started us ends, even by kill -9. Stdlib only; run by path.

`python -I -S watchdog.py [--delete DIRECTORY] COMMAND...` writes the command's process id and a newline to stdout,
and exits with its exit code. The parent holds the other end of our stdin: its end of file means that the parent is
gone; then the command is killed and the directory deleted. On Linux the kernel also kills the command should this
process be killed.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
import threading

PR_SET_PDEATHSIG = 1


def guarded(*command: str, delete: str = "") -> list[str]:
    """The command line that runs `command` below a watchdog; give it a pipe as stdin and one as stdout."""
    return [sys.executable, "-I", "-S", __file__, *(["--delete", delete] if delete else []), *command]


def _die_with_me() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _kill_when_orphaned(command: "subprocess.Popen[bytes]", parent: int, orphaned: threading.Event) -> None:
    # getppid as well: a fork of the parent may have inherited the pipe and hold it open.
    while os.getppid() == parent:
        if select.select([0], [], [], 0.5)[0] and not os.read(0, 1):
            break
    orphaned.set()
    command.kill()


def main(arguments: list[str]) -> int:
    parent, orphaned, delete = os.getppid(), threading.Event(), ""
    if arguments[0] == "--delete":
        delete, arguments = arguments[1], arguments[2:]
    command = subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        preexec_fn=_die_with_me if sys.platform == "linux" else None,
    )
    os.write(1, f"{command.pid}\n".encode())
    threading.Thread(target=_kill_when_orphaned, args=(command, parent, orphaned), daemon=True).start()
    code = command.wait()
    if orphaned.is_set() and delete:
        shutil.rmtree(delete, ignore_errors=True)
    return code


if __name__ == "__main__":
    # A negative code means "killed by a signal"; the shells' convention for it.
    code = main(sys.argv[1:])
    sys.exit(code if code >= 0 else 128 - code)
