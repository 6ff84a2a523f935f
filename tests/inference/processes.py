"""Looking for processes: who is left of a group, and waiting for what no event tells.

Invariant: every wait has a deadline.
"""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path


def group_members(pgid: int) -> list[int]:
    """Living processes of a group, zombies left out."""
    members = []
    for entry in Path("/proc").iterdir():
        try:
            state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if entry.name.isdigit() and int(group) == pgid and state != "Z" and int(entry.name) != os.getpid():
            members.append(int(entry.name))
    return members


def gone(pgid: int, deadline_s: float = 20.0) -> bool:
    """Whether a group dies out in time: a kill takes a moment."""
    deadline = time.monotonic() + deadline_s
    while group_members(pgid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not group_members(pgid)


async def polled(condition: Callable[[], bool], deadline_s: float = 20.0) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 another process tells nobody
            await asyncio.sleep(0.02)
