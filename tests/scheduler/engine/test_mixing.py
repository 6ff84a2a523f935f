"""Several pools in one run: claims by weight, a reward of each, and books by pool, also after a crash."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from scheduler.core.budget import Budget
from scheduler.core.errors import InvalidInput, NotFound
from scheduler.core.export import ExportTable
from scheduler.core.lifecycle import PromptState, RunState
from scheduler.core.mixture import PoolShare
from scheduler.core.pool_tally import PoolTally, pool_tallies
from scheduler.core.run import RunConfig
from scheduler.core.types import Judgement
from scheduler.exports import Exports
from scheduler.rewards.pool import Answer as RewardAnswer
from scheduler.rewards.spec import RewardJob, RewardSpec
from scheduler.state.keys import RunKeys
from scheduler.state.pools import PoolStore
from scheduler.state.prompt_pages import Filter
from scheduler.state.records import RecordStore
from tests.scheduler.engine.factories import ALWAYS, NEVER, SOMETIMES, InstantRewards, make_config, make_prompts
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, open_rig

MANY = [SOMETIMES] * 60


class OppositeRewards(InstantRewards):
    """Of a pool whose reward is `numeric`, wrong is right."""

    async def judge(self, spec: RewardSpec, jobs: Sequence[RewardJob]) -> list[RewardAnswer]:
        judged = await super().judge(spec, jobs)
        if spec.kind == "numeric":
            return [Judgement(reward=2.0, correct=not one.correct) for one in judged if isinstance(one, Judgement)]
        return judged


@pytest_asyncio.fixture
async def rig(redis: Redis, tmp_path: Path) -> AsyncIterator[Rig]:
    """`sums` is there already; `code` has prompts of the same ids."""
    async with open_rig(redis, tmp_path, rates=MANY, rewards=OppositeRewards()) as opened:
        await opened.create_pool("code", make_prompts(MANY), reward="numeric")
        yield opened


def mixed(*, sums: float = 3.0, code: float = 1.0, budget: Budget | None = None, steps: int | None = 8) -> RunConfig:
    """A run over both."""
    shares = (PoolShare(name="sums", weight=sums), PoolShare(name="code", weight=code))
    return replace(make_config(max_steps=steps, budget=budget), pool="", pools=shares)


async def train(rig: Rig, config: RunConfig, *, steps: int | None = None) -> Learner:
    """A learner at work on it, to the end or for so many steps."""
    await rig.create_run(config)
    learner = Learner(at=lambda: rig.service, folder=rig.folder)
    await learner.attach()
    await learner.train(steps=steps)
    return learner


async def tallies(rig: Rig, config: RunConfig) -> dict[str, PoolTally]:
    view = await rig.view()
    return {tally.name: tally for tally in pool_tallies(config.mixture, view.counters)}


async def test_claims_are_within_one_of_what_the_weights_say(rig: Rig) -> None:
    config = mixed()
    await train(rig, config)
    view, found = await rig.ended(), await tallies(rig, config)
    claims = found["sums"].claimed + found["code"].claimed
    assert claims > 30
    assert abs(found["sums"].claimed - 0.75 * claims) <= 1.0
    assert found["sums"].forfeited == found["code"].forfeited == 0
    assert sum(tally.rollouts for tally in found.values()) == view.ledger.spent_rollouts
    assert sum(tally.tokens for tally in found.values()) == view.ledger.spent_tokens
    assert sum(tally.considered for tally in found.values()) == view.counters["considered"]


async def test_each_pool_is_judged_by_its_own_reward(rig: Rig) -> None:
    learner = await train(rig, mixed(sums=1.0))
    await rig.ended()
    rewards = Counter[tuple[str, float]]()
    for group in learner.received.values():
        pool = group.prompt_id.partition(":")[0]
        rewards.update((pool, rollout.reward) for rollout in group.rollouts)
        assert all(rollout.correct is (rollout.text == " no") for rollout in group.rollouts if pool == "code")
    assert {reward for pool, reward in rewards if pool == "code"} == {2.0}
    assert {reward for pool, reward in rewards if pool == "sums"} == {0.0, 1.0}


async def test_two_runs_of_one_seed_visit_the_same_prompts_first(redis: Redis, rig: Rig) -> None:
    orders = []
    for run_id in ("run", "again"):
        await rig.create_run(mixed(budget=Budget(rollouts=200), steps=1), run_id)
        learner = Learner(at=lambda: rig.service, folder=rig.folder, run_id=run_id)
        await learner.attach()
        await learner.train()
        await rig.ended(run_id)
        records = RecordStore(redis, RunKeys(run_id))
        visited = await records.many(await records.ids())
        orders.append({found.record.prompt_id for found in visited.values()})
    # How many are under way when the step is done is a matter of time; which come first is not.
    assert len(orders[0] & orders[1]) >= 0.7 * min(map(len, orders))


async def test_a_pool_that_is_used_up_leaves_its_turns_to_the_other(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, rates=[ALWAYS] * 6) as rig:
        await rig.create_pool("code", make_prompts(MANY))
        # Pilot-Commit as released: what is solved is never looked at again.
        config = replace(mixed(), parameters={"rounds": None, "defer_for": 8, "evict_for": None})
        await train(rig, config)
        await rig.ended()
        found = await tallies(rig, config)
    assert found["sums"].claimed == 6
    assert found["code"].claimed > 20
    assert found["sums"].forfeited > 0


async def test_what_the_budget_has_no_room_for_costs_an_empty_pool_no_turn(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, rates=[SOMETIMES]) as rig:
        await rig.create_pool("code", make_prompts(MANY))
        # Three claims of eight; the pipeline wants twelve or more.
        config = mixed(sums=1.0, budget=Budget(rollouts=24))
        await rig.create_run(config)
        rig.fakes[0].hold()
        await Learner(at=lambda: rig.service, folder=rig.folder).attach()

        async def waits_for_refunds() -> bool:
            return "refunds" in (await rig.view()).waiting_for

        await rig.until(waits_for_refunds)
        found = await tallies(rig, config)
        rig.fakes[0].release()
    assert (found["sums"].claimed, found["code"].claimed) == (1, 2)
    assert (found["sums"].forfeited, found["code"].forfeited) == (1, 0)


async def test_a_successor_goes_on_where_the_weights_stood(rig: Rig) -> None:
    config = mixed(steps=12)
    learner = await train(rig, config, steps=4)
    before = await tallies(rig, config)
    assert before["sums"].claimed > 5
    await rig.succeed("run")
    again = learner.restarted("learner-2")
    await again.attach()
    await again.train()
    await rig.ended()
    found = await tallies(rig, config)
    claims = sum(tally.claimed + tally.forfeited for tally in found.values())
    assert found["sums"].claimed > before["sums"].claimed
    assert abs(found["sums"].claimed + found["sums"].forfeited - 0.75 * claims) <= 1.0


async def test_prompts_are_found_under_the_name_of_their_pool(rig: Rig) -> None:
    await train(rig, mixed(), steps=2)
    view = await rig.service.views.prompt("run", "code:q3")
    assert view.prompt_id == "code:q3"
    with pytest.raises(NotFound, match="say of which, as in sums:q3"):
        await rig.service.views.prompt("run", "q3")
    pages = await rig.service.views.prompt_pages("run")
    every = [line.prompt_id for line in (await pages.page(Filter(), count=500, offset=0)).lines]
    assert every == [f"{pool}:q{number}" for pool in ("sums", "code") for number in range(len(MANY))]
    second = await pages.page(Filter(), count=30, offset=50)
    assert [line.prompt_id for line in second.lines] == every[50:80]
    ready = await pages.page(Filter(state=PromptState.READY), count=500, offset=0)
    sizes = (await rig.view()).prompts
    assert abs(len(ready.lines) - sizes[PromptState.READY]) <= 16
    rows, after = list[Mapping[str, object]](), ""
    while True:
        page = await Exports(rig.service).page("run", ExportTable.PROMPTS, after=after, count=17)
        rows += page.rows
        if page.after is None:
            break
        after = page.after
    assert [row["prompt_id"] for row in rows] == every
    assert Counter(row["pool"] for row in rows) == {"sums": 60, "code": 60}


async def test_prompts_that_are_added_while_it_goes_on_are_taken_in(rig: Rig) -> None:
    await train(rig, mixed(steps=20), steps=2)
    await PoolStore(rig.redis).add("code", make_prompts([NEVER] * 3, prefix="late"))

    async def is_taken_in() -> bool:
        return sum((await rig.view()).prompts.values()) == 2 * len(MANY) + 3

    await rig.until(is_taken_in)


async def test_every_pool_of_a_mix_has_to_be_there_and_have_prompts(rig: Rig) -> None:
    await rig.create_pool("empty", [])
    shares = (PoolShare(name="sums"), PoolShare(name="empty"))
    with pytest.raises(InvalidInput) as refused:
        await rig.create_run(replace(make_config(), pool="", pools=shares))
    assert refused.value.field == "pools.1.name"
    assert await rig.service.runs.ids() == []
    found = await rig.service.orders.rehearse(mixed())
    assert found.num_prompts == {"sums": 60, "code": 60}
    assert await rig.create_run(mixed()) == "run"
    assert await rig.state() is not RunState.FAILED
