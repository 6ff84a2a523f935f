"""The engine on ever more servers: does it keep them busy, and what does a rollout cost?

Owns: the sizes and the figures. Invariant: every size is a process of its own on a Redis of its own.
"""

import asyncio
import sys
from pathlib import Path

import msgspec

from benchmarks.figures import Figure, Sense
from benchmarks.scale.fleet import MAX_STALENESS, Outcome
from benchmarks.session import Findings, Say
from scheduler.core.errors import StateError
from scheduler.embedded_redis import running

SIZES = (8, 64, 512)
_FLAT = 1.25


async def measure(folder: Path, say: Say, *, sizes: tuple[int, ...], steps: int) -> Findings:
    """One size after the other."""
    outcomes = []
    for size in sizes:
        own = folder / str(size)
        async with running(own / "redis") as url:
            outcomes.append(await _one(size, steps, url, own))
        found = outcomes[-1]
        say(f"{size} servers: {found.busy:.1%} busy, {1e3 * found.cpu_s / found.rollouts:.2f} CPU-ms a rollout")
    return _figures(outcomes), {
        "servers": [float(found.servers) for found in outcomes],
        "busy": [found.busy for found in outcomes],
        "CPU ms a rollout": [1e3 * found.cpu_s / found.rollouts for found in outcomes],
        "rollouts": [float(found.rollouts) for found in outcomes],
        "virtual s": [found.virtual_s for found in outcomes],
    }


async def _one(size: int, steps: int, redis_url: str, folder: Path) -> Outcome:
    arguments = ("-m", "benchmarks.scale.fleet", str(size), str(steps), redis_url, str(folder))
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    if process.returncode:
        raise StateError(f"the run on {size} servers ended with code {process.returncode}")
    return msgspec.json.decode(output, type=Outcome)


def _figures(outcomes: list[Outcome]) -> list[Figure]:
    first, last = outcomes[0], outcomes[-1]
    costs = [1e3 * found.cpu_s / found.rollouts for found in outcomes]
    return [
        *(
            Figure(
                what=f"slots in use, {found.servers} servers, {found.in_flight:,} rollouts in flight",
                value=found.busy,
                target=0.98,
                note=f"{found.rollouts:,} rollouts, {found.virtual_s / 60:,.0f} virtual min in {found.real_s:.0f} s",
            )
            for found in outcomes
        ),
        Figure(
            what="stalest group trained",
            value=max(found.stalest for found in outcomes),
            unit="versions",
            target=MAX_STALENESS,
            sense=Sense.AT_MOST,
            note=f"{sum(found.expired for found in outcomes):,} rollouts expired",
        ),
        Figure(
            what=f"cost of a rollout, {last.servers} against {first.servers} servers",
            value=costs[-1] / costs[0],
            target=_FLAT,
            sense=Sense.AT_MOST,
            note=", ".join(f"{cost:.2f}" for cost in costs) + " CPU-ms: engine, clients and the stand-ins of servers",
        ),
    ]
