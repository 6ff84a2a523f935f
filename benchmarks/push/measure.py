"""What giving a server new weights costs, against what cannot be left out of it.

Owns: what is timed. Invariants: the server is a real SGLang and the scheduler the real process; the copy is of the same
file, on the same disk, and like published weights not synced; the bare broadcast is of the same bytes in the same
buckets; the bare call is made of the same server, by our own client, once no run owns it any more.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure, Sense
from benchmarks.model import model_folder
from benchmarks.push.broadcast import bare_broadcasts
from benchmarks.push.pushes import pushes
from benchmarks.session import Findings, Say
from inference.client import ServerClient
from inference.protocol import ModelLimits, WeightLabel
from learner.settings import Transport
from scheduler.core.errors import InvalidInput
from scheduler.core.roll_out import PauseMode
from scheduler.stack import Stack, StackPlan

WEIGHTS = "model.safetensors"
_LIMITS = ModelLimits(vocab_size=49_152, context_length=8192)
_MIB = 1 << 20


async def measure(folder: Path, say: Say, *, times: int) -> Findings:
    """The copy, the bare broadcast, pushes of both kinds by the scheduler, and bare calls of its server."""
    model = model_folder()
    if not (model / WEIGHTS).is_file():
        raise InvalidInput(f"{model} has no weights: run `make model` first")
    size = (model / WEIGHTS).stat().st_size
    raw = {"copy s": [await asyncio.to_thread(_copy, model / WEIGHTS, folder / "copy") for _ in range(times)]}
    say(f"copying {size / _MIB:,.0f} MiB: {median(raw['copy s']):.2f} s")
    raw["bare broadcast s"] = await bare_broadcasts(model, times=times)
    say(f"broadcasting them: {median(raw['bare broadcast s']):.2f} s")
    async with _stack(model, folder / "state", say) as stack:
        raw["push s"] = await pushes(stack.url, model, Transport.DISK, times=times)
        say(f"pushed by the scheduler, from disk: {median(raw['push s']):.2f} s")
        raw["push by broadcast s"] = await pushes(stack.url, model, Transport.BROADCAST, times=times)
        say(f"pushed by the scheduler, by broadcast: {median(raw['push by broadcast s']):.2f} s")
        [url] = stack.server_urls
        # Its runs are over: the scheduler only looks at the server now.
        raw["bare load s"], raw["checksum s"] = await _parts(url, model, times=times)
        say(f"loaded by the bare call: {median(raw['bare load s']):.2f} s")
    return figures(raw, size=size), raw


def figures(raw: dict[str, list[float]], *, size: int) -> list[Figure]:
    """Ratios of medians; `size` is that of the weights in bytes."""
    middle = {name: median(samples) for name, samples in raw.items()}

    def against(push: str, bare: str) -> str:
        return f"{size / middle[push] / _MIB:,.0f} against {size / middle[bare] / _MIB:,.0f} MiB/s"

    return [
        Figure(
            what="push against a bare copy of the file",
            value=middle["push s"] / middle["copy s"],
            target=1.5,
            sense=Sense.AT_MOST,
            note=against("push s", "copy s"),
        ),
        Figure(
            what="push by broadcast against a bare broadcast",
            value=middle["push by broadcast s"] / middle["bare broadcast s"],
            target=1.5,
            sense=Sense.AT_MOST,
            note=f"{against('push by broadcast s', 'bare broadcast s')}; "
            f"{middle['push by broadcast s']:.2f} s from closed to open",
        ),
        Figure(
            what="push against the bare load",
            value=middle["push s"] / middle["bare load s"],
            target=1.0,
            sense=Sense.AT_MOST,
            note=f"{middle['push s']:.2f} s from closed to open against {middle['bare load s']:.2f} s; "
            f"the server's checksum alone takes {middle['checksum s']:.2f} s",
        ),
    ]


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


async def _parts(url: str, model: Path, *, times: int) -> tuple[list[float], list[float]]:
    """Seconds of the bare update of a paused server, and of its checksum; the first of each is the warm-up."""
    client = ServerClient(url, _LIMITS)
    loads, checksums = [], []
    try:
        for number in range(times + 1):
            await client.pause(PauseMode.RETRACT)
            began = time.perf_counter()
            await client.update_weights(model, WeightLabel(run="bare", version=number + 1))
            loaded = time.perf_counter()
            await client.checksum()
            loads.append(loaded - began)
            checksums.append(time.perf_counter() - loaded)
            await client.resume()
    finally:
        await client.aclose()
    return loads[1:], checksums[1:]
