"""A run whose learner trains nothing and publishes the same weights again and again.

Owns: the run, its versions, and how they are offered. Invariants: the scheduler is the real process, asked as any
learner and any client asks it; what is said to go by broadcast has gone by broadcast.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from learner.broadcast import Broadcaster
from learner.settings import Transport
from scheduler.client import Client
from scheduler.core.broadcast import BroadcastBackend
from scheduler.core.errors import LearnerError, ServerUnavailable
from scheduler.core.lifecycle import ENDED
from scheduler.learner_link import LearnerLink

_INCARNATION = "bench"
_PATIENCE_S, _LOOK_S = 120.0, 0.05
_Found = TypeVar("_Found")


async def pushes(url: str, model: Path, transport: Transport, *, times: int) -> list[float]:
    """Seconds of each push, as the scheduler at `url` notes them down; the first version is the warm-up.

    Raises LearnerError if a version was not broadcast that was to be.
    """
    run_id = await asyncio.to_thread(_begin, url, model, pool=f"bench-{transport}")
    seconds = []
    async with LearnerLink(url, run_id) as link:
        await link.attach(incarnation=_INCARNATION, step=0, trained={})
        async with _offered(link, model, transport, times=times + 1):
            for number in range(times + 1):
                version = await link.publish(
                    incarnation=_INCARNATION, step=0, path=str(model), manifest_digest=f"digest-{number}"
                )
                seconds.append(await asyncio.to_thread(_until_live, url, run_id, version))
    await asyncio.to_thread(_end, url, run_id)
    return seconds[1:]


@asynccontextmanager
async def _offered(link: LearnerLink, model: Path, transport: Transport, *, times: int) -> AsyncIterator[None]:
    """Weights are offered for broadcast within, if they are to go that way."""
    if transport is not Transport.BROADCAST:
        yield
        return
    broadcaster = Broadcaster(link, incarnation=_INCARNATION, backend=BroadcastBackend.GLOO, address="127.0.0.1")
    await broadcaster.offer(model)
    sending = asyncio.create_task(broadcaster.run())
    try:
        yield
    finally:
        # A round that is not over for the broadcaster yet is seen through.
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    if broadcaster.num_sent != times:
        raise LearnerError(f"{broadcaster.num_sent} of {times} versions were broadcast: the others went from disk")


def _begin(url: str, model: Path, *, pool: str) -> str:
    """A run that soon waits for its learner: the server then has nothing to do but to load."""
    with Client(url) as client:
        client.create_pool(pool, tokenizer=str(model), reward="exact")
        lines = [{"id": f"p{number}", "text": f"{number} + 1 =", "answer": "7"} for number in range(8)]
        client.add_prompts(pool, lines)
        config = {
            "pool": pool,
            "allocator": "grpo",
            "pilots": 1,
            "commits": 1,
            "batch_size": 2,
            "max_staleness": 0,
            "sampling": {"max_new_tokens": 1},
        }
        return str(client.create_run(config)["run_id"])


def _end(url: str, run_id: str) -> None:
    with Client(url) as client:
        client.cancel(run_id)
        _until(lambda: client.run(run_id)["state"] in ENDED or None, f"run {run_id} had not ended")


def _until_live(url: str, run_id: str, version: int) -> float:
    """Seconds that the push of a version took, once it is live."""
    with Client(url) as client:

        def push_s() -> float | None:
            live = [
                each for each in client.weights(run_id) if each["version"] == version and each["live_at"] is not None
            ]
            return float(str(live[0]["push_s"])) if live else None

        return _until(push_s, f"version {version} was not live")


def _until(look: Callable[[], _Found | None], failure: str) -> _Found:
    """What a look at the scheduler finds, as soon as it finds something; in a thread, for the client blocks."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        found = look()
        if found is not None:
            return found
        time.sleep(_LOOK_S)
    raise ServerUnavailable(f"{failure} within {_PATIENCE_S:g} s")
