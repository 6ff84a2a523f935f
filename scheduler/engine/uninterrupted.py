"""Work that is not to be left half done.

Owns: holding back a cancellation. A durable write and what is remembered of it in memory belong together: cancelled in
between, the two would disagree from then on.
"""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

Result = TypeVar("Result")


async def uninterrupted(work: Coroutine[None, None, Result]) -> Result:
    """See `work` through even if the caller is cancelled meanwhile; the cancellation is raised after it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _end_of(task)
        raise


async def at_last(work: Coroutine[None, None, object]) -> None:
    """See `work` through where something was raised already, which matters more than how it ends."""
    await _end_of(asyncio.ensure_future(work))


async def _end_of(task: "asyncio.Future[Result]") -> None:
    await asyncio.wait({task})
    if not task.cancelled():
        # Looked at, so that it is not reported as lost.
        task.exception()
