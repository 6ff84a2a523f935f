"""Processes that a benchmark measures: a module of ours, for as long as a block lasts.

Owns: their start, and knowing when they answer. Invariant: a process that ends by itself ends the benchmark, with the
end of its log.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import psutil

from scheduler.child import Child
from scheduler.core.errors import ServerUnavailable
from scheduler.ports import free_port

_READY_S, _LOOK_S = 60.0, 0.05


@asynccontextmanager
async def process(
    name: str,
    module: str,
    folder: Path,
    *,
    answers_at: str,
    environment: Mapping[str, str] | None = None,
    arguments: tuple[str, ...] = (),
) -> AsyncIterator[Child]:
    """A module as a process; entered once something answers at the URL `answers_at`."""
    child = Child(
        name=name,
        module=module,
        environment=environment or {},
        arguments=arguments,
        log_path=folder / f"{name}.log",
        max_restarts=0,
    )
    running = asyncio.create_task(child.run())
    try:
        await _until_it_answers(child, running, answers_at)
        yield child
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def scheduler(folder: Path, model: Path, **settings: str) -> AsyncIterator[tuple[Child, str]]:
    """A scheduler with these settings, named as in the environment without their prefix; the process and its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    named = {"PORT": str(port), "MODEL": str(model), "DATA_DIR": str(folder), "RATE_PER_S": "0", **settings}
    environment = {f"PILOTCOMMIT_{name}": value for name, value in named.items()}
    health = f"{url}/healthz"
    async with process("scheduler", "scheduler.main", folder, answers_at=health, environment=environment) as child:
        yield child, url


def cpu_s(process: psutil.Process) -> float:
    """What a process has computed so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def tree_cpu_s(pid: int | None) -> float:
    """What a process and its children have computed so far; 0 between two lives."""
    try:
        parent = psutil.Process(pid) if pid is not None else None
        return sum(cpu_s(each) for each in (parent, *parent.children(recursive=True))) if parent is not None else 0.0
    except psutil.NoSuchProcess:
        return 0.0


async def _until_it_answers(child: Child, running: "asyncio.Task[None]", url: str) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=5.0) as http, asyncio.timeout(_READY_S):
        while True:
            if running.done():
                raise ServerUnavailable(f"the {child.name} ended: {child.last_words()}")
            with suppress(httpx.TransportError):
                await http.get(url)
                return
            await asyncio.sleep(_LOOK_S)
