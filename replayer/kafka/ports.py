"""Free TCP ports on loopback."""

from __future__ import annotations

import random
import socket


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def listens(host: str, port: int) -> bool:
    """Whether a server accepts connections on the port now."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def free_port(host: str) -> int:
    """A port nobody listens on, below the range from which the system gives ports to outgoing connections.

    A port the system gives out itself (bind to 0) can be taken by any client while our server restarts; a client that
    retries against it may even connect to itself.
    """
    candidates = random.sample(range(10_000, 32_000), 200)
    for port in candidates:
        if is_free(host, port):
            return port
    raise OSError("no free port between 10000 and 32000")
