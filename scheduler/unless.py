"""A call that an event may make pointless.

Owns: waiting for both. Never leaves a task behind.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def unless(event: asyncio.Event, call: Coroutine[Any, Any, Result], *, grace_s: float = 0.0) -> Result | None:
    """The result of `call`, or None if the event comes `grace_s` before it; the call is cancelled then."""
    task = asyncio.ensure_future(call)
    watch = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait({task}, timeout=grace_s)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        watch.cancel()
        await asyncio.wait({task, watch})
