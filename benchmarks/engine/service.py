"""The real scheduler in front of a paced server, for one measurement.

Owns: its process, its run and the learner beside it, and what each process computes. Invariant: nothing of it is left
when the block ends.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
import psutil

from benchmarks.engine.paced import Pace, Served
from benchmarks.learner import Trained, train
from benchmarks.processes import cpu_s, process, scheduler
from scheduler.child import Child
from scheduler.client import Client
from scheduler.core.errors import ServerUnavailable
from scheduler.ports import free_port

NUM_PROMPTS = 5000
PILOTS, COMMITS = 16, 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One stretch of a run at work."""

    served: Served
    cpu_s: Mapping[str, float]
    """Of each part."""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.served.answers / self.served.seconds

    def cpu_ms(self, part: str) -> float:
        """CPU-milliseconds of a part per rollout."""
        return 1e3 * self.cpu_s[part] / self.served.answers


async def look(url: str, pace: Pace | None = None) -> Served:
    """What the paced server served since the last look; with a pace, it changes to that."""
    async with httpx.AsyncClient(trust_env=False, timeout=10.0) as http:
        if pace is None:
            answer = await http.get(f"{url}/pace")
        else:
            answer = await http.post(f"{url}/pace", content=msgspec.json.encode(pace))
    return msgspec.json.decode(answer.content, type=Served)


async def label(url: str, model: Path, version: str) -> None:
    """Have the server label its weights, as bare loops expect them to be."""
    async with httpx.AsyncClient(trust_env=False, timeout=10.0) as http:
        body = {"model_path": str(model), "weight_version": version}
        (await http.post(f"{url}/update_weights_from_disk", json=body)).raise_for_status()


@asynccontextmanager
async def paced_server(model: Path, folder: Path) -> AsyncIterator[str]:
    """Its address while the block lasts."""
    port = free_port()
    url, arguments = f"http://127.0.0.1:{port}", (str(port), str(model))
    async with process("paced", "benchmarks.engine.paced", folder, answers_at=f"{url}/pace", arguments=arguments):
        yield url


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """How much the run asks for."""

    batch_size: int = 32
    allocator: str = "adaptive"
    step_s: float = 0.0
    """Seconds from step to step at least; 0 asks for all that the servers can give."""

    @classmethod
    def of(cls, rate: float) -> "Demand":
        """About so many rollouts a second, evenly: small batches, each group of a known size."""
        batch_size = 2
        return cls(batch_size=batch_size, allocator="pilot_commit", step_s=batch_size * (PILOTS + COMMITS) / rate)


@asynccontextmanager
async def at_work(
    server: str, model: Path, folder: Path, *, in_flight: int, demand: Demand = Demand()
) -> AsyncIterator["AtWork"]:
    """A run at work on that server, with so many attempts in flight at most."""
    async with scheduler(folder, model, SERVERS=server, MAX_IN_FLIGHT=str(in_flight)) as (child, url):
        run_id = await asyncio.to_thread(_begin, url, model, demand)
        learning = asyncio.create_task(train(url, run_id, model, step_s=demand.step_s))
        try:
            yield AtWork(server=server, child=child, learning=learning)
        finally:
            learning.cancel()
            await asyncio.gather(learning, return_exceptions=True)


def _begin(url: str, model: Path, demand: Demand) -> str:
    """Create a pool and a run without a bound; returns the run's id."""
    lines = [
        msgspec.json.encode({"id": f"p{number}", "text": f"{number} + 1 =", "answer": "7"})
        for number in range(NUM_PROMPTS)
    ]
    with Client(url) as client:
        client.create_pool("sums", tokenizer=str(model), reward="exact")
        client.add_prompts("sums", lines)
        run = client.create_run(
            {
                "pool": "sums",
                "allocator": demand.allocator,
                "pilots": PILOTS,
                "commits": COMMITS,
                "batch_size": demand.batch_size,
                "max_staleness": 2,
                "budget": {"rollouts": 100_000_000},
                "sampling": {"max_new_tokens": 64},
            }
        )
        return str(run["run_id"])


@dataclass(frozen=True, slots=True, kw_only=True)
class AtWork:
    """A run that samples."""

    server: str
    child: Child
    learning: "asyncio.Task[Trained]"

    async def measure(self, *, warm_up_s: float, seconds: float) -> Measured:
        """A stretch of so many seconds after a warm-up; raises what the learner raised."""
        await self._while_learning(warm_up_s)
        await look(self.server)
        before = self._cpu_s()
        await self._while_learning(seconds)
        served, after = await look(self.server), self._cpu_s()
        return Measured(
            served=served,
            cpu_s={**{part: after[part] - before[part] for part in after}, "server": served.cpu_s},
        )

    async def _while_learning(self, seconds: float) -> None:
        done, _ = await asyncio.wait({self.learning}, timeout=seconds)
        if done:
            raise ServerUnavailable(
                f"the run ended after {self.learning.result().steps} steps; {self.child.last_words()}"
            )

    def _cpu_s(self) -> dict[str, float]:
        assert self.child.pid is not None
        parent = psutil.Process(self.child.pid)
        found = {"scheduler": cpu_s(parent), "redis": 0.0, "rewards": 0.0, "learner": time.process_time()}
        for child in parent.children(recursive=True):
            found["redis" if "valkey" in child.name() else "rewards"] += cpu_s(child)
        return found
