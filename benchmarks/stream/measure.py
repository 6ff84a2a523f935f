"""How fast groups get from Redis to a learner, against loopback HTTP that carries the same bytes.

Owns: what is timed: from the attached learner's first frame to the report of its last step. Invariant: the scheduler is
the real process, the learner reads every frame, and peer and stream use the same server and client libraries.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.figures import Figure, Sense
from benchmarks.learner import train
from benchmarks.processes import process, scheduler
from benchmarks.session import Findings, Say
from benchmarks.stream.stock import RUN, Stock, publish
from scheduler.embedded_redis import running
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
            what="growth of the scheduler's memory after a quarter of the stream",
            value=max(delivered.rss_mib) - max(delivered.rss_mib[: 1 + len(delivered.rss_mib) // 4]),
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
    url, chunk = f"http://127.0.0.1:{port}", stock.packed_bytes // stock.groups
    arguments = (str(port), str(megabytes), str(chunk))
    async with (
        process("raw", "benchmarks.stream.raw", folder, answers_at=f"{url}/nothing", arguments=arguments),
        httpx.AsyncClient(trust_env=False, timeout=60.0) as http,
    ):
        return max([await _rate(http, f"{url}/stream") for _ in range(3)])


async def _rate(http: httpx.AsyncClient, url: str) -> float:
    began, size = time.perf_counter(), 0
    async with http.stream("GET", url) as response:
        async for data in response.aiter_bytes():
            size += len(data)
    return size / (time.perf_counter() - began)


async def _stream(redis_url: str, model: Path, folder: Path) -> Delivered:
    rss_mib: list[float] = []

    async def watch(process: psutil.Process) -> None:
        while True:
            rss_mib.append(process.memory_info().rss / _MIB)
            await asyncio.sleep(_LOOK_S)

    async with scheduler(folder, model, REDIS_URL=redis_url, LEASE_TTL_S="5") as (child, url):
        assert child.pid is not None
        watching = asyncio.create_task(watch(psutil.Process(child.pid)))
        try:
            trained = await train(url, RUN, model)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    return Delivered(seconds=trained.seconds, rss_mib=rss_mib)
