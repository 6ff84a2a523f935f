"""Waiting for a process that tells nobody when it is ready.

Invariant: every wait has a deadline, and ends at once where the process is gone.
"""

import time
from collections.abc import Callable
from pathlib import Path

import httpx

_DEADLINE_S = 900.0
_LOOK_S = 0.5


def until(url: str, gone: Callable[[], bool], log: Path) -> None:
    """Return once an address answers with a success; raises RuntimeError with the end of the log if it never does."""
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline and not gone():
        try:
            if httpx.get(url, timeout=5.0, trust_env=False).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(_LOOK_S)
    raise RuntimeError(f"{url} did not answer; what was to serve it said:\n{log.read_text()[-4000:]}")
