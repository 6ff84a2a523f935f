"""`python -m benchmarks.scale.fleet SERVERS STEPS REDIS FOLDER`: the real engine on so many servers, in virtual time.

Owns: one size of fleet, in a process of its own, and what it came to. Prints one JSON object. Invariant: engine, table,
ledger and Redis are the real ones; servers and learner only let virtual time pass.
"""

import asyncio
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis

from benchmarks.scale.clock import VirtualLoop, install
from benchmarks.scale.servers import SLOTS, Busy, ScaledServer
from inference.client import ServerClient
from inference.protocol import ModelLimits
from scheduler import logs
from scheduler.core.errors import NotAtWork
from scheduler.core.ledger import Outcome as AttemptOutcome
from scheduler.core.run import RunConfig
from scheduler.core.types import Judgement, Prompt, Sampling
from scheduler.engine.assembly import EngineSettings
from scheduler.engine.delivery import DeliverySettings
from scheduler.fleet import Fleet
from scheduler.frames import BatchFrame, PackedGroupFrame
from scheduler.rewards.pool import Answer, RewardPool
from scheduler.rewards.spec import RewardJob, RewardSpec
from scheduler.service import Service
from scheduler.service.learner_desk import LearnerDesk
from scheduler.state.pools import PoolRecord, PoolStore

ROLLOUTS, PILOTS = 64, 16
MAX_STALENESS = 2
_TRAINING_S = 20.0
_WARM_UP = 4
"""Steps until groups no longer end all at once, as those do that were begun together."""
_RUN, _POOL = "scale", "scale"
_LIMITS = ModelLimits(vocab_size=128, context_length=2048)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one size came to."""

    servers: int
    in_flight: int
    """Slots of all servers."""
    busy: float
    """Share of slot-seconds in use, from the second step on."""
    rollouts: int
    virtual_s: float
    cpu_s: float
    """Of this process: engine, clients and servers' stand-ins."""
    real_s: float
    stalest: int
    """Versions between the oldest token of any group and the policy that was trained with it."""
    expired: int


class _AtOnce(RewardPool):
    """Rewards without a process: what they cost is measured elsewhere."""

    async def judge(self, spec: RewardSpec, jobs: Sequence[RewardJob]) -> list[Answer]:
        return [Judgement(reward=float(job.text == job.answer), correct=job.text == job.answer) for job in jobs]


async def simulate(loop: VirtualLoop, redis_url: str, folder: Path, *, servers: int, steps: int) -> Outcome:
    """One run from its first claim to its last step."""
    pool = BlockingConnectionPool.from_url(redis_url, max_connections=64)
    pool.connection_class = loop.outside.connection_class()
    redis, busy = Redis.from_pool(pool), Busy(loop)
    slots = servers * SLOTS
    fleet = Fleet((), capacity_per_server=SLOTS + 2, probe_interval_s=60.0)
    service = Service(
        redis,
        fleet,
        _AtOnce(1),
        EngineSettings(pilot_cap=2 * slots, delivery=DeliverySettings(heartbeat_s=60.0), tend_s=1.0, stall_s=3600.0),
        connect=lambda url: ServerClient(url, _LIMITS, transport=ScaledServer(busy, random.Random(url))),
        servers=[f"http://server-{number}" for number in range(servers)],
        lease_ttl_s=3600.0,
    )
    await service.roster.load()
    # As many groups a step as the fleet samples in four answers' time: the pilots of the two batches that may be begun
    # while one is trained then fill the servers by themselves.
    batch = max(1, 4 * slots // ROLLOUTS)
    await _prepare(redis, service, batch=batch, steps=steps)
    loops = [
        asyncio.create_task(fleet.watch()),
        asyncio.create_task(service.roster.run()),
        asyncio.create_task(service.conductor.conduct()),
    ]
    try:
        return await _train(loop, service, busy, folder, slots=slots, servers=servers, steps=steps)
    finally:
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await redis.aclose()


async def _prepare(redis: Redis, service: Service, *, batch: int, steps: int) -> None:
    await PoolStore(redis).create(
        PoolRecord(
            name=_POOL, tokenizer="none", reward="exact", context_length=2048, max_prompt_tokens=64, created_at=0.0
        )
    )
    names = [f"p{number}" for number in range(4 * batch * (steps + MAX_STALENESS + 1))]
    for start in range(0, len(names), 1000):
        part = [Prompt(prompt_id=name, input_ids=(10, 11), answer="7") for name in names[start : start + 1000]]
        await PoolStore(redis).add(_POOL, part)
    config = RunConfig(
        pool=_POOL,
        allocator="pilot_commit",
        parameters={"rounds": None, "defer_for": 8, "evict_for": 32},
        pilots=PILOTS,
        commits=ROLLOUTS - PILOTS,
        batch_size=batch,
        max_staleness=MAX_STALENESS,
        sampling=Sampling(max_new_tokens=8),
        attempt_timeout_s=3600.0,
    )
    await service.orders.create(config, _RUN)


async def _train(
    loop: VirtualLoop, service: Service, busy: Busy, folder: Path, *, slots: int, servers: int, steps: int
) -> Outcome:
    desk, who = service.learner_desk, "scale"
    await _attached(desk, who)
    version = (await desk.publish(_RUN, incarnation=who, step=0, path=str(folder), digest="0")).version
    stalest, began_s, began_cpu, began_real = 0, 0.0, 0.0, 0.0
    oldest: list[int] = []
    async for frame in desk.stream(_RUN, incarnation=who):
        if isinstance(frame, PackedGroupFrame):
            oldest.append(frame.unpacked().group.oldest_version)
        if not isinstance(frame, BatchFrame):
            continue
        stalest = max(stalest, version - min(oldest))
        oldest.clear()
        await asyncio.sleep(_TRAINING_S)
        record = await desk.applied(
            _RUN,
            incarnation=who,
            step=frame.step,
            group_ids=frame.group_ids,
            refused={},
            path=str(folder),
            digest=str(frame.step),
            stats={},
        )
        version = record.version
        await desk.checkpointed(_RUN, incarnation=who, step=frame.step)
        busy.change(0)
        if frame.step == _WARM_UP:
            # Filling the pipeline is not what is measured.
            busy.slot_s, busy.answers = 0.0, 0
            began_s, began_cpu, began_real = loop.virtual_s, time.process_time(), time.perf_counter()
        if frame.step == _WARM_UP + steps:
            break
    ledger = (await service.views.run(_RUN)).ledger
    virtual_s = loop.virtual_s - began_s
    return Outcome(
        servers=servers,
        in_flight=slots,
        busy=busy.slot_s / (slots * virtual_s),
        rollouts=busy.answers,
        virtual_s=virtual_s,
        cpu_s=time.process_time() - began_cpu,
        real_s=time.perf_counter() - began_real,
        stalest=stalest,
        expired=sum(stage.outcomes.get(AttemptOutcome.EXPIRED, 0) for stage in ledger.stages.values()),
    )


async def _attached(desk: LearnerDesk, who: str) -> None:
    """Attach once the run is at work, as a learner does: by asking again."""
    while True:
        try:
            await desk.attach(_RUN, incarnation=who, step=0, trained={})
        except NotAtWork:
            await asyncio.sleep(0.1)
        else:
            return


def main(servers: int, steps: int, redis_url: str, folder: Path) -> None:
    """One size, printed."""
    logs.configure("ERROR")
    loop = VirtualLoop()

    install(loop)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        outcome = runner.run(simulate(loop, redis_url, folder, servers=servers, steps=steps))
    sys.stdout.write(msgspec.json.encode(outcome).decode() + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
