"""Groups in Redis, as visits publish them: a run that has everything sampled and nothing delivered.

Owns: the groups and the run that they are of. Invariant: everything is written by the stores that a run itself uses, so
the books balance.
"""

import random
import time
from dataclasses import dataclass

from scheduler.core.budget import Budget
from scheduler.core.informativeness import Evidence
from scheduler.core.packed import Logprobs, TokenIds, pack
from scheduler.core.prior import Prior
from scheduler.core.run import RunConfig
from scheduler.core.types import FinishReason, Group, Prompt, Rollout, Sampling, Stage, VersionSpan
from scheduler.state.connection import Redis
from scheduler.state.groups import GroupEntry
from scheduler.state.keys import RunKeys
from scheduler.state.leases import Lease
from scheduler.state.pools import PoolRecord, PoolStore
from scheduler.state.row import Event, Row
from scheduler.state.runs import RunStore
from scheduler.state.table import Table
from scheduler.state.transaction import Transactor
from scheduler.state.visit import Landing, Visit
from scheduler.state.visits import VisitStore

RUN, POOL = "bench", "bench"
_VOCABULARY = 150_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """What was published."""

    groups: int
    packed_bytes: int
    """Of all groups together, as they travel."""


async def publish(redis: Redis, *, tokenizer: str, batch_size: int, batches: int, rollouts: int, tokens: int) -> Stock:
    """A run whose next batches are all there."""
    await PoolStore(redis).create(
        PoolRecord(
            name=POOL,
            tokenizer=tokenizer,
            reward="exact",
            context_length=2 * tokens,
            max_prompt_tokens=tokens,
            created_at=time.time(),
        )
    )
    names = [f"p{number}" for number in range(batch_size * batches)]
    await PoolStore(redis).add(POOL, [Prompt(prompt_id=name, input_ids=(10, 11)) for name in names])
    config = RunConfig(
        pool=POOL,
        allocator="grpo",
        pilots=rollouts // 4,
        commits=rollouts - rollouts // 4,
        batch_size=batch_size,
        max_staleness=batches + 1,
        max_steps=batches,
        sampling=Sampling(max_new_tokens=tokens),
    )
    await RunStore(redis).create(config, now=time.time(), run_id=RUN)
    keys = RunKeys(RUN)
    lease = await Lease.acquire(redis, keys, holder="bench", ttl_s=600.0)
    transactor, table = Transactor(redis, keys, lease.fence), Table(redis, keys, seed=config.seed)
    visits = VisitStore(redis, transactor, table, budget=Budget(), max_new_tokens=tokens)
    await table.seed_prompts(transactor, names, len(names))
    size = 0
    for order, name in enumerate(names):
        group = _group(name, rollouts, tokens)
        size += len(pack(group))
        await _publish(visits, group, order, fence=lease.fence)
    await lease.release()
    return Stock(groups=len(names), packed_bytes=size)


async def _publish(visits: VisitStore, group: Group, order: int, *, fence: int) -> None:
    count = len(group.rollouts)
    visit = Visit(visit_id=group.group_id, prompt_id=group.prompt_id, fence=fence, reserved=count)
    [visit] = (await visits.claim([visit])).visits
    visit = await visits.launch(visit, Stage.PILOT, count)
    visit = await visits.land(visit, Landing(stage=Stage.PILOT, rollouts=group.rollouts), held=())
    entry = GroupEntry(
        group_id=group.group_id,
        prompt_id=group.prompt_id,
        order=order,
        oldest_version=group.oldest_version,
        success_rate=0.5,
        reward_std=0.5,
        counts={Stage.PILOT: count},
    )
    row, event = Row(evidence=Evidence.fresh(Prior(), 1)), Event(at=time.time(), version=1, what="published")
    await visits.publish(visit, group, entry, row=row, event=event)


def _group(name: str, rollouts: int, tokens: int) -> Group:
    chance = random.Random(name)
    return Group(
        group_id=f"visit-{name}",
        prompt_id=name,
        prompt_ids=tuple(chance.randrange(_VOCABULARY) for _ in range(200)),
        rollouts=tuple(
            Rollout(
                rid=f"{name}-{number}",
                stage=Stage.PILOT,
                token_ids=TokenIds.of(chance.randrange(_VOCABULARY) for _ in range(tokens)),
                logprobs=Logprobs.of(-chance.expovariate(1.0) for _ in range(tokens)),
                finish_reason=FinishReason.LENGTH,
                spans=(VersionSpan(version=1, start=0, end=tokens),),
                reward=float(number % 2),
                correct=bool(number % 2),
                text="word " * (3 * tokens // 5),
            )
            for number in range(rollouts)
        ),
    )
