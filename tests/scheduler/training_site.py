"""A scheduler at work behind a socket with one small run: what a trainer of any kind takes groups from.

Owns: its start and stop, and the weights a trainer publishes. Invariant: nothing of it is left when the block ends.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from redis.asyncio import Redis

from inference.client import ServerClient
from inference.fake import Answer, Ask, FakeServer, ScriptedPolicy, create_fake
from inference.protocol import ModelLimits
from scheduler.engine.assembly import EngineSettings
from scheduler.engine.delivery import DeliverySettings
from scheduler.fleet import Fleet
from scheduler.rewards.pool import RewardPool
from scheduler.service import Service
from tests.scheduler.api.bodies import Json, add_pool, make_run, upload
from tests.scheduler.served import served


def _answer(ask: Ask) -> Answer:
    """Right about every other time, and of several lengths, so that most groups have something to teach."""
    rng = random.Random(ask.seed)
    text = rng.choice(["3", "4"])
    length = rng.randint(1, 4)
    return Answer(token_ids=(7,) * length, logprobs=(-0.5,) * length, text=text)


@dataclass(frozen=True, slots=True)
class TrainingSite:
    """Where a trainer finds its run, which is called `run`."""

    url: str
    http: httpx.AsyncClient
    model: Path
    """The policy at step 0."""
    folder: Path

    def weights(self, step: int) -> Path:
        """A folder of weights for a step, each step's its own, of the run's model."""
        path = self.folder / f"step-{step}"
        path.mkdir(exist_ok=True)
        for file in self.model.iterdir():
            (path / file.name).write_bytes(file.read_bytes())
        return path

    async def get(self, path: str = "") -> Json:
        """What the API says of the run."""
        found: Json = (await self.http.get(f"/v1/runs/run{path}")).json()
        return found

    async def cancel(self) -> None:
        """Cancel the run, and return once it has ended."""
        (await self.http.post("/v1/runs/run/cancel")).raise_for_status()
        await self.reached("cancelled")

    async def reached(self, state: str) -> None:
        """Return once the run is in this state."""
        async with asyncio.timeout(20.0):
            while (await self.get())["state"] != state:
                pass

    async def trained(self) -> object:
        """How many groups have been trained; the books have to balance."""
        ledger = await self.get("/ledger")
        assert ledger["balanced"]
        return ledger["groups_trained"]


@asynccontextmanager
async def training_site(
    redis: Redis, model: Path, folder: Path, *, answer: str = "3", **run: object
) -> AsyncIterator[TrainingSite]:
    """A scheduler on a scripted server; `run` changes the run, which is of two steps.

    `answer` is the right one to every prompt: any other than 3 and 4 is never found.
    """
    fake = create_fake(FakeServer(policy=ScriptedPolicy(script=_answer)))
    limits = ModelLimits(vocab_size=128, context_length=2048)
    server = ServerClient("http://fake", limits, transport=httpx.ASGITransport(fake))
    fleet, rewards = Fleet([server], probe_interval_s=0.05), RewardPool(1)
    settings = EngineSettings(tend_s=0.02, end_grace_s=1.0, delivery=DeliverySettings(heartbeat_s=0.1))
    service = Service(redis, fleet, rewards, settings, connect=lambda _: server, servers=[server.base_url], model=model)
    await add_pool(service.pools, model)
    async with served(service) as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        await upload(http, *({"id": f"p{number}", "text": f"{number} + 2 =", "answer": answer} for number in range(8)))
        # Nothing grows too stale to be delivered again, however often a trainer starts anew.
        small: dict[str, object] = {"pilots": 4, "commits": 4, "max_steps": 2, "max_staleness": 100}
        body = make_run(**(small | {"run_id": "run", "budget": {"rollouts": 900}} | run))
        created = await http.post("/v1/runs", json=body)
        assert created.status_code == 201, created.text
        loops = [asyncio.create_task(fleet.watch()), asyncio.create_task(service.conductor.conduct())]
        yield TrainingSite(url, http, model, folder)
        await service.conductor.quiesce(grace_s=0.2)
        for loop in loops:
            loop.cancel()
        ended = await asyncio.gather(*loops, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended
    await fleet.aclose()
    await rewards.close()
