"""The event loop that our processes run on.

Owns: which one. uvloop: with hundreds of requests in flight, or groups of megabytes, the loop is what the time goes to.
"""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

import uvloop

Result = TypeVar("Result")


def run(work: Coroutine[object, object, Result]) -> Result:
    """As asyncio.run does, on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
