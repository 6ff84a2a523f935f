"""Children that do not outlive their parent.

Owns: the one way this project ties a child process to its parent, SIGKILL of the parent included. Linux only: elsewhere
the tie is not made, and a killed parent leaves its children running.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> Callable[[], None]:
    """A `preexec_fn` that has the kernel kill the child when this process dies.

    Everything is prepared here, because after a fork only what is already loaded is safe. The kernel ties the child to
    the thread that starts it: start children from a thread that lives as long as they may.
    """
    parent = os.getpid()
    if not sys.platform.startswith("linux"):
        return lambda: None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return tie
