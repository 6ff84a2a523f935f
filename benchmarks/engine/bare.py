"""`python -m benchmarks.engine.bare URL LIBRARY SECONDS CONCURRENCY`: the same requests without a scheduler.

Owns: bare loops over one server: as many requests at a time as asked, each followed at once by the next, by our own
client (httpx) and by the fastest Python library there is. Prints requests, seconds and CPU-seconds as JSON.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import uvloop

from inference.client import ServerClient
from inference.protocol import GenerateRequest, ModelLimits, generate_body, read_completion
from scheduler.core.types import Sampling

MAX_NEW_TOKENS = 64
_RUN, _VERSION = "bare", 1
BARE_LABEL = f"{_RUN}/{_VERSION}"
"""Of the weights that bare loops ask for."""
_PROMPT = tuple(range(10, 42))

Call = Callable[[GenerateRequest], Awaitable[object]]


def request(number: int) -> GenerateRequest:
    """One of the requests that the engine would send."""
    return GenerateRequest(
        rid=f"{number:016x}-1-0",
        run=_RUN,
        version=_VERSION,
        input_ids=_PROMPT,
        sampling=Sampling(max_new_tokens=MAX_NEW_TOKENS),
        sampling_seed=number,
        timeout_s=60.0,
    )


@asynccontextmanager
async def ours(url: str, concurrency: int) -> AsyncIterator[Call]:
    """Our client, which checks what it sends and reads what comes back."""
    client = ServerClient(url, ModelLimits(vocab_size=128, context_length=2048), max_connections=concurrency)
    try:
        yield client.generate
    finally:
        await client.aclose()


@asynccontextmanager
async def plain_httpx(url: str, concurrency: int) -> AsyncIterator[Call]:
    """httpx as its documentation has it, with the same body and the same reading of the answer."""
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60.0, trust_env=False) as http:

        async def call(asked: GenerateRequest) -> object:
            response = await http.post(
                "/generate", content=generate_body(asked), headers={"content-type": "application/json"}
            )
            return read_completion(asked, response.content)

        yield call


@asynccontextmanager
async def plain_aiohttp(url: str, concurrency: int) -> AsyncIterator[Call]:
    """aiohttp, the fastest Python client with a parser in C."""
    import aiohttp

    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(url, connector=connector) as http:

        async def call(asked: GenerateRequest) -> object:
            headers = {"content-type": "application/json"}
            async with http.post("/generate", data=generate_body(asked), headers=headers) as response:
                return read_completion(asked, await response.read())

        yield call


LIBRARIES: dict[str, Callable[[str, int], AbstractAsyncContextManager[Call]]] = {
    "ours": ours,
    "httpx": plain_httpx,
    "aiohttp": plain_aiohttp,
}


async def drive(url: str, library: str, seconds: float, concurrency: int) -> dict[str, float]:
    """Ask for so long; what came of it."""
    done, end = 0, time.monotonic() + seconds

    async with LIBRARIES[library](url, concurrency) as call:

        async def loop(first: int) -> None:
            nonlocal done
            number = first
            while time.monotonic() < end:
                await call(request(number))
                number += concurrency
                done += 1

        began, cpu_s = time.monotonic(), time.process_time()
        await asyncio.gather(*(loop(first) for first in range(concurrency)))
        return {
            "requests": done,
            "seconds": time.monotonic() - began,
            "cpu_s": time.process_time() - cpu_s,
        }


if __name__ == "__main__":
    result = uvloop.run(drive(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
    sys.stdout.write(json.dumps(result) + "\n")
