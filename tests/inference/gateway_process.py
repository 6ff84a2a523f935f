"""A real gateway in front of servers.

Owns: their start and end. Never decides what a test is about. Invariant: whoever asks for a gateway where it is not
installed is skipped, with what to install.
"""

import asyncio
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from scheduler.ports import free_port

DEADLINE_S = 60.0


@asynccontextmanager
async def gateway(*workers: str) -> AsyncIterator[str]:
    """smg with these servers behind it, all of which it has met; its address."""
    program = Path(sys.executable).parent / "smg"
    if not program.exists():
        pytest.skip("SGLang's gateway is not installed: pip install smg")
    port = free_port()
    arguments = ["launch", "--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(free_port())]
    process = await asyncio.create_subprocess_exec(
        program, *arguments, "--worker-urls", *workers, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        await _met(url, len(workers))
        yield url
    finally:
        process.terminate()
        await process.wait()


async def _met(url: str, num_workers: int) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http, asyncio.timeout(DEADLINE_S):
        while True:
            with suppress(httpx.TransportError):
                if (await http.get("/workers")).json()["total"] == num_workers:
                    return
            await asyncio.sleep(0.05)
