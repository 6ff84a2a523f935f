"""Forecasts in a run: what they are made of, and what they save."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from scheduler.core.allocators.adaptive import AdaptiveReason
from scheduler.core.mixture import Mixture, PoolShare
from scheduler.core.prior import Prior
from scheduler.core.types import Prompt
from scheduler.engine.foresight import Foresight
from scheduler.state.pools import PoolRecord, PoolStore
from scheduler.state.run_pools import RunPools
from tests.factories import make_rollout
from tests.scheduler.engine.factories import ALWAYS, NEVER, SOMETIMES, make_config
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import open_rig

POOL = PoolRecord(name="told", tokenizer="t", reward="exact", context_length=64, max_prompt_tokens=32, created_at=0.0)


class CountingPools(RunPools):
    """Counts the prompts that are read."""

    num_read = 0

    async def prompts(self, names: Iterable[str]) -> list[Prompt]:
        found = await super().prompts(names)
        self.num_read += len(found)
        return found


def prompt(index: int) -> Prompt:
    """Even ones are always solved, odd ones never, and they say so."""
    return Prompt(prompt_id=f"p{index}", input_ids=(7 + index % 2, 20 + index % 9, 40 + index % 7))


async def test_nothing_is_read_before_there_is_a_forecast_and_then_each_prompt_once(redis: Redis) -> None:
    stored = PoolStore(redis)
    await stored.create(POOL)
    prompts = [prompt(index) for index in range(80)]
    await stored.add("told", prompts)
    pools = CountingPools(redis, Mixture((PoolShare(name="told"),)))
    foresight = Foresight(pools, discount=0.98)
    ids = [one.prompt_id for one in prompts]
    assert await foresight.priors(ids) == {}
    assert foresight.prior(prompts[0]) is None
    for one in prompts[:60]:
        right = int(one.prompt_id[1:]) % 2 == 0
        foresight.saw(one, [make_rollout(reward=float(right))] * 4, version=1)
    await foresight.refit(Prior(a0=0.3, b0=0.3), version=1)
    priors = await foresight.priors(ids)
    assert pools.num_read == 20, "those visited are known"
    assert await foresight.priors(ids) == priors
    assert pools.num_read == 20
    assert priors["p78"].mean > 0.6
    assert priors["p79"].mean < 0.4
    assert foresight.prior(prompts[78]) == priors["p78"]


@pytest.mark.parametrize("foresee", [0, 1])
async def test_prompts_worded_like_hopeless_and_solved_ones_are_passed_over_unseen(
    redis: Redis, tmp_path: Path, foresee: int
) -> None:
    rates = [ALWAYS, NEVER, NEVER, SOMETIMES] * 60
    async with open_rig(redis, tmp_path, rates=rates) as rig:
        await rig.create_run(
            make_config(
                allocator="adaptive", max_steps=16, pilots=4, commits=4, batch_size=2, parameters={"foresee": foresee}
            )
        )
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        await learner.attach()
        await learner.train()
        view = await rig.ended()
        reasons = [
            (event.reason, event.pilots)
            for index in range(len(rates))
            for event in (await rig.service.views.prompt("run", f"q{index}")).history
            if event.what == "passed_over"
        ]
    foreseen = [reason for reason, _ in reasons if reason.startswith("foreseen")]
    if not foresee:
        assert not foreseen
        return
    assert {AdaptiveReason.FORESEEN_HARD, AdaptiveReason.FORESEEN_EASY} == set(foreseen)
    assert view.counters["passed_over:skip"] + view.counters["passed_over:defer"] == len(reasons)
    assert view.ledger.is_balanced
