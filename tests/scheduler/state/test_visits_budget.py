"""The budget of a run, held by its visits: however many claim at once, it is never exceeded."""

import asyncio
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from scheduler.core.budget import Budget
from scheduler.core.errors import BudgetExhausted
from scheduler.core.ledger import Outcome
from scheduler.core.types import Stage
from scheduler.state.visit import Landing, Visit
from tests.scheduler.state.stores import MAX_NEW_TOKENS, Stores, make_rollouts, open_money, snapshot


@pytest.mark.parametrize("budget", [Budget(rollouts=3), Budget(tokens=39)])
async def test_a_claim_that_does_not_fit_leaves_its_prompt_claimable(redis: Redis, budget: Budget) -> None:
    stores = await Stores.open(redis, budget=budget)
    await stores.seed("p")
    before = await snapshot(redis)
    with pytest.raises(BudgetExhausted):
        await stores.claim(rollouts=4)
    assert await snapshot(redis) == before


@pytest.mark.parametrize("budget", [Budget(rollouts=6), Budget(tokens=60)])
async def test_a_claim_that_waited_fits_once_another_visit_is_refunded(redis: Redis, budget: Budget) -> None:
    stores = await Stores.open(redis, budget=budget)
    await stores.seed("p", "q")
    visit = await stores.ask(await stores.claim("p", rollouts=4), Stage.PILOT, 2)
    with pytest.raises(BudgetExhausted):
        await stores.claim("q", rollouts=5)
    await stores.settle(visit)
    with pytest.raises(BudgetExhausted):
        await stores.claim("q", rollouts=6)
    await stores.claim("q", rollouts=4)
    await stores.audit()


@pytest.mark.parametrize("budget", [Budget(rollouts=11), Budget(tokens=119)])
async def test_prompts_claimed_together_are_claimed_as_far_as_the_budget_goes(redis: Redis, budget: Budget) -> None:
    stores = await Stores.open(redis, budget=budget)
    await stores.seed("a", "b", "c", "d")
    claimed = await stores.visits.claim([stores.new_visit(name) for name in ("a", "b", "c", "d")])
    assert [visit.prompt_id for visit in claimed.visits] == ["a", "b"]
    assert claimed.is_out_of_budget
    assert set(await stores.table.sample(10)) == {"c", "d"}
    assert open_money(await stores.audit()) == (8, 80)


async def test_an_extension_that_does_not_fit_changes_nothing(redis: Redis) -> None:
    stores = await Stores.open(redis, budget=Budget(rollouts=5))
    await stores.seed("p")
    visit = await stores.claim(rollouts=4)
    before = await snapshot(redis)
    with pytest.raises(BudgetExhausted):
        await stores.visits.extend(visit, 2)
    assert await snapshot(redis) == before
    assert (await stores.visits.extend(visit, 1)).reserved == 5


limits = st.none() | st.integers(1, 400)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limits, st.none() | st.integers(1, 4000), st.integers(1, 6), st.integers(1, 250))
async def test_claims_at_once_reserve_all_that_fits_and_never_more(
    redis: Redis, rollouts: int | None, tokens: int | None, size: int, num_prompts: int
) -> None:
    await redis.flushdb()
    stores = await Stores.open(redis, budget=Budget(rollouts=rollouts, tokens=tokens))
    names = [f"p{index}" for index in range(num_prompts)]
    await stores.seed(*names)
    answers = await asyncio.gather(*(stores.claim(name, rollouts=size) for name in names), return_exceptions=True)
    fits = min(
        num_prompts,
        num_prompts if rollouts is None else rollouts // size,
        num_prompts if tokens is None else tokens // (size * MAX_NEW_TOKENS),
    )
    assert sum(isinstance(answer, Visit) for answer in answers) == fits
    assert sum(isinstance(answer, BudgetExhausted) for answer in answers) == num_prompts - fits
    assert open_money(await stores.audit()) == (fits * size, fits * size * MAX_NEW_TOKENS)


async def live(stores: Stores, prompt_id: str, chance: random.Random) -> None:
    """One visit's life by chance: pilots, some of them lost and made again, then a commit, a verdict or nothing."""
    visit = await stores.claim(prompt_id, rollouts=4)
    held = make_rollouts(2, tokens=chance.randint(0, MAX_NEW_TOKENS))
    visit = await stores.visits.launch(visit, Stage.PILOT, 2)
    lost = chance.randint(0, 2)
    held = held[lost:]
    visit = await stores.visits.land(visit, Landing(stage=Stage.PILOT, rollouts=held, lost=lost), held=held)
    if lost:
        visit = await stores.visits.extend(visit, lost)
        again = make_rollouts(lost, tokens=chance.randint(0, MAX_NEW_TOKENS))
        held += again
        visit = await stores.visits.launch(visit, Stage.PILOT, lost)
        visit = await stores.visits.land(visit, Landing(stage=Stage.PILOT, rollouts=again), held=held)
    if chance.random() < 0.5:
        visit = await stores.ask(visit, Stage.COMMIT, 2, held=held)
        await stores.publish(visit)
    else:
        await stores.settle(visit)


@pytest.mark.parametrize("seed", range(3))
async def test_hundreds_of_visits_at_once_never_spend_and_reserve_more_than_the_budget(redis: Redis, seed: int) -> None:
    budget = Budget(rollouts=300, tokens=2000)
    stores = await Stores.open(redis, budget=budget)
    names = [f"p{index}" for index in range(200)]
    await stores.seed(*names)
    chance = random.Random(seed)
    most = [0, 0]
    done = asyncio.Event()

    async def watch() -> None:
        while not done.is_set():
            found = await redis.hmget(
                stores.keys.ledger, "spent:rollouts", "reserved:rollouts", "spent:tokens", "reserved:tokens"
            )
            first, second, third, fourth = (int(count or 0) for count in found)
            most[0], most[1] = max(most[0], first + second), max(most[1], third + fourth)

    async def end_of_all_lives() -> list[BaseException | None]:
        lives = (live(stores, name, random.Random(chance.random())) for name in names)
        answers = await asyncio.gather(*lives, return_exceptions=True)
        done.set()
        return answers

    answers, _ = await asyncio.gather(end_of_all_lives(), watch())
    assert {type(answer) for answer in answers} == {type(None), BudgetExhausted}
    await stores.audit()
    assert budget.rollouts is not None
    assert budget.tokens is not None
    assert 0 < most[0] <= budget.rollouts
    assert 0 < most[1] <= budget.tokens
    for visit, _ in await stores.visits.open_visits():
        await stores.settle(visit, Outcome.INCOMPLETE, what="incomplete")
    assert open_money(await stores.audit()) == (0, 0)
