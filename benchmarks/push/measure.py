"""What giving a server new weights costs, against the bare copy of the file and against the bare call.

Owns: what is timed. Invariants: the server is a real SGLang and the scheduler the real process; the copy is of the same
file, on the same disk, and like published weights not synced; the bare call is made of the same server, by our own
client, once no run owns it any more.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import TypeVar

from benchmarks.figures import Figure, Sense
from benchmarks.model import model_folder
from benchmarks.session import Findings, Say
from inference.client import ServerClient
from inference.protocol import ModelLimits, WeightLabel
from scheduler.client import Client
from scheduler.core.errors import InvalidInput, ServerUnavailable
from scheduler.core.lifecycle import ENDED
from scheduler.core.roll_out import PauseMode
from scheduler.learner_link import LearnerLink
from scheduler.stack import Stack, StackPlan

WEIGHTS = "model.safetensors"
_LIMITS = ModelLimits(vocab_size=49_152, context_length=8192)
_POOL = "bench"
_PATIENCE_S, _LOOK_S = 120.0, 0.05
_MIB = 1 << 20
_Found = TypeVar("_Found")


async def measure(folder: Path, say: Say, *, times: int) -> Findings:
    """The copy, pushes by the scheduler, and the bare calls of the same server."""
    model = model_folder()
    if not (model / WEIGHTS).is_file():
        raise InvalidInput(f"{model} has no weights: run `make model` first")
    size = (model / WEIGHTS).stat().st_size
    copies = [await asyncio.to_thread(_copy, model / WEIGHTS, folder / "copy") for _ in range(times)]
    say(f"copying {size / _MIB:,.0f} MiB: {median(copies):.2f} s")
    async with _stack(model, folder / "state", say) as stack:
        pushes = await _pushes(stack, model, times=times)
        say(f"pushed by the scheduler: {median(pushes):.2f} s")
        [url] = stack.server_urls
        # Its run is over: the scheduler only looks at the server now.
        loads = await _loads(url, model, times=times)
        say(f"loaded by the bare call: {median(loads):.2f} s")
    figures = [
        Figure(
            what="push against a bare copy of the file",
            value=median(pushes) / median(copies),
            target=1.5,
            sense=Sense.AT_MOST,
            note=f"{size / median(pushes) / _MIB:,.0f} against {size / median(copies) / _MIB:,.0f} MiB/s",
        ),
        Figure(
            what="push against the bare load",
            value=median(pushes) / median(loads),
            note=f"{median(pushes):.2f} against {median(loads):.2f} s: closed, paused, loaded, confirmed, proved, open",
        ),
    ]
    return figures, {"push s": pushes, "bare load s": loads, "copy s": copies}


def _copy(source: Path, to: Path) -> float:
    began = time.perf_counter()
    shutil.copyfile(source, to)
    return time.perf_counter() - began


@asynccontextmanager
async def _stack(model: Path, folder: Path, say: Say) -> AsyncIterator[Stack]:
    """A scheduler and a real server, ready."""
    stack = Stack(StackPlan(model=model, folder=folder, port=0, learners=False), say=say)
    running, ready = asyncio.create_task(stack.run()), asyncio.create_task(stack.wait_ready())
    try:
        await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        yield stack
    finally:
        ready.cancel()
        running.cancel()
        await asyncio.gather(running, ready, return_exceptions=True)


async def _pushes(stack: Stack, model: Path, *, times: int) -> list[float]:
    """Seconds of each push, as the scheduler notes them down; the first version is the warm-up."""
    run_id = await asyncio.to_thread(_begin, stack.url, model)
    async with LearnerLink(stack.url, run_id) as link:
        await link.attach(incarnation="bench", step=0, trained={})
        seconds = []
        for number in range(times + 1):
            version = await link.publish(
                incarnation="bench", step=0, path=str(model), manifest_digest=f"digest-{number}"
            )
            seconds.append(await asyncio.to_thread(_until_live, stack.url, run_id, version))
    await asyncio.to_thread(_end, stack.url, run_id)
    return seconds[1:]


def _begin(url: str, model: Path) -> str:
    """A run that soon waits for its learner: the server then has nothing to do but to load."""
    with Client(url) as client:
        client.create_pool(_POOL, tokenizer=str(model), reward="exact")
        lines = [{"id": f"p{number}", "text": f"{number} + 1 =", "answer": "7"} for number in range(8)]
        client.add_prompts(_POOL, lines)
        config = {
            "pool": _POOL,
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


async def _loads(url: str, model: Path, *, times: int) -> list[float]:
    """Seconds of the bare update of a paused server; the first is the warm-up."""
    client = ServerClient(url, _LIMITS)
    seconds = []
    try:
        for number in range(times + 1):
            await client.pause(PauseMode.RETRACT)
            began = time.perf_counter()
            await client.update_weights(model, WeightLabel(run="bare", version=number + 1))
            seconds.append(time.perf_counter() - began)
            await client.resume()
    finally:
        await client.aclose()
    return seconds[1:]
