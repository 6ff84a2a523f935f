"""A whole scheduler on fake servers and a real Redis.

Owns: its start, its death and its successor. Invariant: a loop that ends unasked fails the test that is running.
"""

import asyncio
import inspect
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from redis.asyncio import Redis

from inference.client import ServerClient, Timeouts
from inference.fake import FakeConfig, FakeServer, Policy
from inference.protocol import ModelLimits
from scheduler.core.labels import Labels
from scheduler.core.lifecycle import ENDED, RunState
from scheduler.core.run import RunConfig
from scheduler.core.types import Prompt
from scheduler.engine.assembly import EngineSettings
from scheduler.fleet import Fleet, ServerView, Traits
from scheduler.rewards.pool import RewardPool
from scheduler.service import RunView, Service
from scheduler.state.connection import connect
from scheduler.state.evaluations import EvaluationStore
from scheduler.state.groups import GroupStore
from scheduler.state.keys import RunKeys
from scheduler.state.leases import Lease
from scheduler.state.pools import PoolRecord, PoolStore
from scheduler.state.runs import RunStore
from scheduler.state.table import Table
from scheduler.state.transaction import Transactor
from scheduler.state.versions import VersionStore
from scheduler.state.visits import VisitStore
from tests.scheduler.engine.factories import (
    CONTEXT_LENGTH,
    VOCAB_SIZE,
    Coin,
    InstantRewards,
    make_prompts,
    make_settings,
)
from tests.scheduler.engine.learner import DEADLINE_S
from tests.scheduler.engine.mortality import MortalRedis, MortalTransport
from tests.scheduler.state.stores import MAX_NEW_TOKENS, Stores

LEASE_TTL_S = 300.0


class Rig:
    """One scheduler process after the other."""

    def __init__(
        self,
        redis: Redis,
        fakes: Sequence[FakeServer],
        *,
        folder: Path,
        settings: EngineSettings,
        capacity: int,
        rewards: RewardPool,
        limits: ModelLimits,
        policy: Policy,
    ) -> None:
        self.redis = redis
        self.fakes = list(fakes)
        self.configured = tuple(f"http://fake{index}" for index in range(len(fakes)))
        """Addresses in the settings of every scheduler process."""
        self.labels: dict[str, Labels] = {}
        """What the settings say of the servers, by address."""
        self._policy = policy
        self.folder = folder
        self._settings = settings
        self._capacity = capacity
        self._rewards = rewards
        self._limits = limits
        self.lease_ttl_s = LEASE_TTL_S
        self._loops: list[asyncio.Task[None]] = []
        self.connection: MortalRedis
        self.service: Service
        self.fleet: Fleet

    # Life and death.

    def start(self) -> None:
        """Start a scheduler process."""
        self.connection = self._connect()
        self.fleet = self.make_fleet()
        self.service = self._make_service(self.connection, self.fleet)
        self._loops = [
            asyncio.create_task(self._conduct(), name="conduct"),
            asyncio.create_task(self.fleet.watch(), name="fleet-watch"),
            asyncio.create_task(self.service.roster.run(), name="fleet-roster"),
        ]

    def _connect(self) -> MortalRedis:
        url = self.redis.connection_pool.connection_kwargs
        address = f"redis://{url['host']}:{url['port']}/{url.get('db', 0)}"
        return cast(MortalRedis, MortalRedis.from_pool(connect(address).connection_pool))

    def make_fleet(self) -> Fleet:
        """The fleet of one scheduler process; its roster seats the fakes."""
        return Fleet((), capacity_per_server=self._capacity, probe_interval_s=0.01)

    def _make_service(self, process: MortalRedis, fleet: Fleet) -> Service:
        return Service(
            process,
            fleet,
            self._rewards,
            self._settings,
            connect=lambda url: self.client_of(url, process),
            describe=lambda url: Traits(labels=self.labels.get(url, {})),
            servers=self.configured,
            lease_ttl_s=self.lease_ttl_s,
        )

    def client_of(self, url: str, process: MortalRedis) -> ServerClient:
        """A fake as one scheduler process reaches it."""
        return ServerClient(
            url,
            self._limits,
            transport=MortalTransport(self.fakes[int(url.removeprefix("http://fake"))], process),
            timeouts=Timeouts(connect_s=1.0, probe_s=1.0, control_s=1.0, update_s=1.0),
        )

    @asynccontextmanager
    async def standing_by(self) -> AsyncIterator[Service]:
        """A second scheduler process beside the first."""
        connection = self._connect()
        fleet = self.make_fleet()
        service = self._make_service(connection, fleet)
        await service.roster.load()
        loops = [asyncio.create_task(fleet.watch()), asyncio.create_task(service.conductor.conduct())]
        try:
            yield service
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await fleet.aclose()
            await connection.aclose()

    async def _conduct(self) -> None:
        await self.service.roster.load()
        await self.service.conductor.conduct()

    def launch(self) -> str:
        """One more fake server that no scheduler knows of; returns its address."""
        first = self.fakes[0]
        self.fakes.append(FakeServer(first.config, policy=self._policy))
        return f"http://fake{len(self.fakes) - 1}"

    def server(self, url: str) -> ServerView:
        """A server of the fleet as an operator sees it."""
        [view] = [view for view in self.service.fleet.view() if view.url == url]
        return view

    def members(self) -> list[str]:
        """Addresses of the servers that are of the fleet."""
        return [view.url for view in self.service.fleet.view()]

    async def stop(self) -> None:
        """Stop the process in order."""
        await self._end_loops()
        await self.fleet.aclose()
        await self.connection.aclose()

    async def crash(self) -> None:
        """End the process where it stands: nothing it had still to write is written, and its lease stays."""
        self.connection.die()
        await self.stop()

    async def succeed(self, run_id: str) -> None:
        """Crash, audit what is left, and start a successor whose predecessor's lease has run out."""
        await self.crash()
        await self.audit(run_id)
        await self.take_up(run_id)

    async def take_up(self, run_id: str) -> None:
        """Start a successor, once the lease of its predecessor has run out."""
        await self.redis.delete(RunKeys(run_id).lease_alive)
        self.start()

    async def _end_loops(self) -> None:
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._loops = []

    async def conduct_ended(self) -> BaseException | None:
        """Wait for the service's loop to end by itself, and say with what."""
        await asyncio.wait(self._loops[:1], timeout=DEADLINE_S)
        return self._loops[0].exception()

    # Runs.

    async def create_pool(
        self, name: str, prompts: Sequence[Prompt], *, reward: str = "exact", tokenizer: str = "none"
    ) -> None:
        """A pool with these prompts."""
        record = PoolRecord(
            name=name,
            tokenizer=tokenizer,
            reward=reward,
            context_length=CONTEXT_LENGTH,
            max_prompt_tokens=CONTEXT_LENGTH,
            created_at=0.0,
        )
        pools = PoolStore(self.redis)
        await pools.create(record)
        await pools.add(name, prompts)

    async def create_run(self, config: RunConfig, run_id: str = "run") -> str:
        """A queued run."""
        return (await self.service.orders.create(config, run_id)).run_id

    async def view(self, run_id: str = "run") -> RunView:
        """The run as an operator sees it."""
        return await self.service.views.run(run_id)

    async def state(self, run_id: str = "run") -> RunState:
        """Where the run stands."""
        return (await RunStore(self.redis).get(run_id)).state

    async def ended(self, run_id: str = "run") -> RunView:
        """The run once it has ended, its books audited."""

        async def has_ended() -> bool:
            return await self.state(run_id) in ENDED

        await self.until(has_ended)
        await self.audit_end(run_id)
        return await self.view(run_id)

    async def ready(self, count: int | None = None) -> None:
        """Wait until so many servers (all) take requests."""
        wanted = len(self.fakes) if count is None else count
        await self.until(lambda: sum(server.takes_attempts for server in self.fleet.servers) == wanted)

    async def until(self, condition: Callable[[], bool | Awaitable[bool]], *, timeout_s: float = DEADLINE_S) -> None:
        """Poll until the condition holds; fails at once if a loop of the scheduler has ended."""
        deadline = time.monotonic() + timeout_s
        while True:
            holds = condition()
            if await holds if inspect.isawaitable(holds) else holds:
                return
            for loop in self._loops:
                if loop.done() and not loop.cancelled():
                    raise AssertionError(f"{loop.get_name()} ended") from loop.exception()
            assert time.monotonic() < deadline, f"waited {timeout_s} s in vain: {inspect.getsource(condition)}"
            await asyncio.sleep(0.002)

    # Books.

    def stores(self, config: RunConfig, run_id: str = "run") -> Stores:
        """The run's stores, for reading: their lease was never acquired."""
        keys = RunKeys(run_id)
        lease = Lease(self.redis, keys, fence=-1, ttl_s=LEASE_TTL_S)
        transactor, table = Transactor(self.redis, keys, -1), Table.of(self.redis, keys, config)
        return Stores(
            redis=self.redis,
            keys=keys,
            lease=lease,
            transactor=transactor,
            runs=RunStore(self.redis),
            table=table,
            visits=VisitStore(self.redis, transactor, table, budget=config.budget, max_new_tokens=MAX_NEW_TOKENS),
            groups=GroupStore(self.redis, transactor, table),
            versions=VersionStore(self.redis, transactor),
            evaluations=EvaluationStore(self.redis, transactor, cap=config.budget.eval_rollouts),
        )

    async def audit(self, run_id: str = "run") -> None:
        """The ledger agrees with what is open, the budget holds, and every prompt is in one place."""
        config = (await RunStore(self.redis).get(run_id)).config
        stores = self.stores(config, run_id)
        ledger = await stores.audit()
        budget = config.budget
        assert budget.rollouts is None or ledger.spent_rollouts + ledger.reserved_rollouts <= budget.rollouts
        assert budget.tokens is None or ledger.spent_tokens + ledger.reserved_tokens <= budget.tokens
        places = await stores.places()
        assert set(places.values()) <= {1}, places
        record = await stores.runs.get(run_id)
        num_prompts = sum([await PoolStore(self.redis).size(pool) for pool in config.mixture.names])
        if sum(record.pool_sequences.values()) + record.pool_sequence == num_prompts:
            assert len(places) == num_prompts, "a prompt is lost"

    async def audit_end(self, run_id: str = "run") -> None:
        """The books of a run that has ended: nothing is open and nothing reserved."""
        await self.audit(run_id)
        ledger = await RunStore(self.redis).ledger(run_id)
        still_open = {stage: line.open for stage, line in ledger.stages.items() if any(line.open.values())}
        assert not still_open
        assert (ledger.reserved_rollouts, ledger.reserved_tokens) == (0, 0)


@asynccontextmanager
async def open_rig(
    redis: Redis,
    folder: Path,
    *,
    num_servers: int = 1,
    settings: EngineSettings | None = None,
    capacity: int = 64,
    policy: Policy | None = None,
    rewards: RewardPool | None = None,
    has_checksums: bool = True,
    started: bool = True,
    labels: Sequence[Labels] = (),
    rates: Sequence[int] = (50,) * 40,
    limits: ModelLimits | None = None,
) -> AsyncIterator[Rig]:
    """A scheduler with a pool `sums` of prompts with these success rates (percent), stopped with the block."""
    launch = folder / "launch"
    launch.mkdir()
    (launch / "model.safetensors").write_bytes(b"launch")
    config = FakeConfig(
        model_path=str(launch), vocab_size=VOCAB_SIZE, context_length=CONTEXT_LENGTH, has_checksums=has_checksums
    )
    policy = policy or Coin()
    rig = Rig(
        redis,
        [FakeServer(config, policy=policy) for _ in range(num_servers)],
        folder=folder,
        settings=settings or make_settings(),
        capacity=capacity,
        rewards=rewards or InstantRewards(),
        limits=limits or ModelLimits(vocab_size=VOCAB_SIZE, context_length=CONTEXT_LENGTH),
        policy=policy,
    )
    rig.labels = dict(zip(rig.configured, labels, strict=False))
    await rig.create_pool("sums", make_prompts(rates))
    rig.start()
    try:
        if started:
            await rig.until(
                lambda: len(rig.fleet.servers) == num_servers and all(server.answers for server in rig.fleet.servers)
            )
        yield rig
    finally:
        await rig.stop()


async def let_time_run(fakes: Sequence[FakeServer], seed: int) -> None:
    """Decode on held servers at random speeds, until cancelled: long answers take longer, on some servers more so."""
    rng = random.Random(seed)
    while True:
        await rng.choice(fakes).step(rng.randint(1, 2))
        for _ in range(rng.randint(0, 4)):
            await asyncio.sleep(0)
