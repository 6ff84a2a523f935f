"""How fast groups get from Redis to a learner, against loopback HTTP that carries the same bytes.

Owns: what is timed: from the attached learner's first frame to the report of its last step. Invariant: the scheduler is
the real process, the learner reads every frame, and peer and stream use the same server and client libraries.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.figures import Figure, Sense
from benchmarks.session import Findings, Say
from benchmarks.stream.stock import RUN, Stock, publish
from scheduler.child import Child
from scheduler.core.errors import ServerUnavailable
from scheduler.embedded_redis import running
from scheduler.frames import BatchFrame, FinalFrame, GroupFrame
from scheduler.learner_link import LearnerLink
from scheduler.ports import free_port
from scheduler.state.connection import connect
from tests.tiny_model import write_tiny_model

ROLLOUTS, TOKENS = 64, 2048
BATCH = 8
_MIB = 1 << 20
_LOOK_S = 0.02
_READY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What came of one run's stream."""

    seconds: float
    groups: int
    rss_mib: list[float]
    """The scheduler's resident memory, from the start of the stream on."""


async def measure(folder: Path, say: Say, *, batches: int) -> Findings:
    """The raw bytes first, then the same number of bytes as groups."""
    model = write_tiny_model(folder / "model")
    async with running(folder / "redis") as url:
        redis = connect(url)
        try:
            stock = await publish(
                redis, tokenizer=str(model), batch_size=BATCH, batches=batches, rollouts=ROLLOUTS, tokens=TOKENS
            )
            say(f"{stock.groups} groups of {stock.packed_bytes / stock.groups / _MIB:.1f} MiB are published")
            full = int((await redis.info("memory"))["used_memory_dataset"])
            raw_rate = await _raw(stock, folder)
            say(f"raw loopback HTTP: {raw_rate / _MIB:,.0f} MiB/s")
            delivered = await _stream(url, model, folder)
            left = int((await redis.info("memory"))["used_memory_dataset"])
        finally:
            await redis.aclose()
    rate = stock.packed_bytes / delivered.seconds
    say(f"as groups to the learner: {rate / _MIB:,.0f} MiB/s")
    figures = [
        Figure(
            what="group stream against raw loopback HTTP",
            value=rate / raw_rate,
            target=0.5,
            note=f"{rate / _MIB:,.0f} of {raw_rate / _MIB:,.0f} MiB/s, decoded and reported applied, "
            f"{ROLLOUTS} rollouts of {TOKENS:,} tokens a group",
        ),
        Figure(
            what="growth of the scheduler's memory while it streams",
            value=max(delivered.rss_mib) - delivered.rss_mib[0],
            unit="MiB",
            target=3 * stock.packed_bytes / stock.groups / _MIB,
            sense=Sense.AT_MOST,
            note=f"three groups' worth; all of them are {stock.packed_bytes / _MIB:,.0f} MiB",
        ),
        Figure(
            what="Redis's memory once all are trained",
            value=left / full,
            target=0.05,
            sense=Sense.AT_MOST,
            note=f"of the {full / _MIB:,.0f} MiB when all were published: payloads live as long as the window is open",
        ),
    ]
    return figures, {
        "MiB/s": [rate / _MIB],
        "raw MiB/s": [raw_rate / _MIB],
        "scheduler MiB": [round(each, 1) for each in delivered.rss_mib],
    }


async def _raw(stock: Stock, folder: Path) -> float:
    """Bytes a second of plain HTTP, in chunks as large as a group."""
    port, megabytes = free_port(), max(1, stock.packed_bytes // _MIB)
    chunk = stock.packed_bytes // stock.groups
    async with _child("raw", "benchmarks.stream.raw", {}, folder, (str(port), str(megabytes), str(chunk))) as child:
        url = f"http://127.0.0.1:{port}"
        await _until_it_answers(child, f"{url}/nothing")
        async with httpx.AsyncClient(trust_env=False, timeout=60.0) as http:
            best = 0.0
            for _ in range(3):
                began, size = time.perf_counter(), 0
                async with http.stream("GET", f"{url}/stream") as response:
                    async for data in response.aiter_bytes():
                        size += len(data)
                best = max(best, size / (time.perf_counter() - began))
            return best


async def _stream(redis_url: str, model: Path, folder: Path) -> Delivered:
    port = free_port()
    settings = {
        "PORT": str(port),
        "REDIS_URL": redis_url,
        "MODEL": str(model),
        "DATA_DIR": str(folder),
        "RATE_PER_S": "0",
        "LEASE_TTL_S": "5",
    }
    environment = {f"PILOTCOMMIT_{name}": value for name, value in settings.items()}
    async with _child("scheduler", "scheduler.main", environment, folder) as child:
        await _until_it_answers(child, f"http://127.0.0.1:{port}/healthz")
        assert child.pid is not None
        return await _learn(f"http://127.0.0.1:{port}", model, psutil.Process(child.pid))


async def _learn(url: str, model: Path, scheduler: psutil.Process) -> Delivered:
    rss_mib: list[float] = []

    async def watch() -> None:
        while True:
            rss_mib.append(scheduler.memory_info().rss / _MIB)
            await asyncio.sleep(_LOOK_S)

    began, step, groups = 0.0, 0, 0
    async with LearnerLink(url, RUN) as link:
        await link.attach(incarnation="bench", step=0, trained={})
        await link.publish(incarnation="bench", step=0, path=str(model), manifest_digest="step-0")
        watching = asyncio.create_task(watch())
        try:
            async for frame in link.stream(incarnation="bench"):
                began = began or time.perf_counter()
                match frame:
                    case GroupFrame():
                        groups += 1
                    case BatchFrame() if frame.step > step:
                        step = frame.step
                        await link.applied(
                            incarnation="bench",
                            step=step,
                            group_ids=frame.group_ids,
                            refused={},
                            path=str(model),
                            manifest_digest=f"step-{step}",
                            stats={},
                        )
                        seconds = time.perf_counter() - began
                        await link.checkpointed(incarnation="bench", step=step)
                    case FinalFrame():
                        break
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
    return Delivered(seconds=seconds, groups=groups, rss_mib=rss_mib)


@asynccontextmanager
async def _child(
    name: str, module: str, environment: dict[str, str], folder: Path, arguments: tuple[str, ...] = ()
) -> AsyncIterator[Child]:
    child = Child(
        name=name,
        module=module,
        environment=environment,
        arguments=arguments,
        log_path=folder / f"{name}.log",
        max_restarts=0,
    )
    running = asyncio.create_task(child.run())
    try:
        yield child
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _until_it_answers(child: Child, url: str) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=5.0) as http, asyncio.timeout(_READY_S):
        while True:
            if child.restarts:
                raise ServerUnavailable(f"the {child.name} ended: {child.last_words()}")
            with suppress(httpx.TransportError):
                await http.get(url)
                return
            await asyncio.sleep(0.05)
