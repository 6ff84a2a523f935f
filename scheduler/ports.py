"""Ports of this machine.

Owns: choosing one for a process that listens on it for long. Invariant: it is never one that the machine hands out for
connections: a process that died would find its own port taken by one of them when it is started again.
"""

import random
import socket

_FROM, _TO = 20_000, 29_000
"""Below what Linux (from 32768) and others (from 49152) hand out, and below SGLang's and torchrun's own defaults."""
_MOST_TRIES = 200
_random = random.SystemRandom()
"""Of no seed: two processes that choose at the same time choose differently."""


def free_port() -> int:
    """A port that was free a moment ago; raises OSError if none was found."""
    for _ in range(_MOST_TRIES):
        port = _random.randrange(_FROM, _TO)
        if is_free(port):
            return port
    raise OSError(f"no free port among {_MOST_TRIES} tried between {_FROM} and {_TO}")


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
