"""Who is claimed, how many, and what the claims leave of the budget."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from redis.asyncio import Redis

from scheduler.core.allocators.interface import Candidate, Demand, PassedOver, Ranking
from scheduler.core.allocators.pilot_commit import PilotCommit
from scheduler.core.budget import Budget
from scheduler.core.lifecycle import PromptState
from scheduler.core.types import Prompt, Stage, Verdict
from scheduler.engine.admission import Admission
from scheduler.engine.circuit import Circuit
from scheduler.engine.pipeline import Pipeline
from scheduler.engine.rule_in_force import RuleInForce
from scheduler.state.row import Row
from scheduler.state.run_pools import RunPools
from scheduler.state.runs import RunStore
from scheduler.state.visit import Visit
from tests.scheduler.engine.factories import NEVER, make_config, make_settings
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, let_time_run, open_rig
from tests.scheduler.state.stores import Stores


async def test_a_claim_reserves_the_largest_group_it_may_become(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config())
    rig.fakes[0].hold()
    await learner.attach()
    await rig.until(lambda: len(rig.fakes[0].in_flight) >= 16)
    await rig.crash()
    ledger = await rig.stores(make_config()).runs.ledger("run")
    visits = [visit for visit, _ in await rig.stores(make_config()).visits.open_visits()]
    assert ledger.spent_rollouts + ledger.reserved_rollouts == 8 * len(visits)
    assert ledger.reserved_tokens == 10 * 8 * len(visits)


@pytest.mark.parametrize("limit", [8, 23, 24, 100])
async def test_spent_and_reserved_never_exceed_the_budget_at_any_moment(
    redis: Redis, tmp_path: Path, limit: int
) -> None:
    async with open_rig(redis, tmp_path, num_servers=2) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        budget = Budget(rollouts=limit, tokens=10 * limit)
        await rig.create_run(make_config(budget=budget))
        for fake in rig.fakes:
            fake.hold()
        time_runs = asyncio.create_task(let_time_run(rig.fakes, limit))
        await learner.attach()
        training = asyncio.create_task(learner.train())
        while not training.done():
            # One command, so one moment.
            ledger = await RunStore(rig.redis).ledger("run")
            assert ledger.is_balanced
            assert ledger.spent_rollouts + ledger.reserved_rollouts <= limit
            assert ledger.spent_tokens + ledger.reserved_tokens <= 10 * limit
        await training
        await rig.ended()
        time_runs.cancel()


async def test_claims_wait_for_refunds_and_a_run_does_not_end_while_one_may_come(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config(budget=Budget(rollouts=24)))
    rig.fakes[0].hold()
    await learner.attach()

    async def waits_for_refunds() -> bool:
        return (await rig.view()).waiting_for == "refunds: what is left of the budget is reserved"

    await rig.until(waits_for_refunds)
    assert (await rig.view()).counters["considered"] == 3
    rig.fakes[0].release()
    await learner.train()
    view = await rig.ended()
    assert view.ledger.spent_rollouts > 16


async def test_a_budget_raised_while_a_run_waits_for_it_is_claimed_from_at_once(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config(budget=Budget(rollouts=24)))
    rig.fakes[0].hold()
    await learner.attach()

    async def has_claimed(count: int) -> bool:
        return (await rig.view()).counters.get("considered", 0) >= count

    async def waits_for_refunds() -> bool:
        return "refunds" in (await rig.view()).waiting_for

    await rig.until(waits_for_refunds)
    assert not await has_claimed(4)
    await rig.service.orders.raise_budget("run", Budget(rollouts=48))
    await rig.until(lambda: has_claimed(6))
    # The books are read one after the other: all pilots are out, and nobody writes meanwhile.
    await rig.until(lambda: len(rig.fakes[0].in_flight) == 6 * 4)
    await rig.audit()
    rig.fakes[0].release()
    await learner.train()
    view = await rig.ended()
    assert 40 < view.ledger.spent_rollouts <= 48


async def test_a_raised_budget_holds_for_the_scheduler_that_comes_after(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config(budget=Budget(rollouts=24)))
    rig.fakes[0].hold()
    await learner.attach()
    await rig.service.orders.raise_budget("run", Budget(rollouts=64))
    await rig.succeed("run")
    rig.fakes[0].release()
    await learner.train()
    view = await rig.ended()
    assert 56 < view.ledger.spent_rollouts <= 64


async def test_no_more_prompts_are_piloted_at_once_than_the_cap(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, settings=make_settings(pilot_cap=3), rates=[NEVER] * 40) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        await rig.create_run(make_config(budget=Budget(rollouts=200)))
        rig.fakes[0].hold()
        time_runs = asyncio.create_task(let_time_run(rig.fakes, 1))
        await learner.attach()
        most, training = 0, asyncio.create_task(learner.train())
        while not training.done():
            most = max(most, (await rig.view()).prompts[PromptState.CLAIMED])
        await rig.ended()
        time_runs.cancel()
        assert most == 3


async def test_every_prompt_is_visited_once_before_any_is_visited_again(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config(max_steps=12))
    await learner.attach()
    await learner.train()
    await rig.ended()
    visits = {}
    for index in range(40):
        row = (await rig.service.views.prompt("run", f"q{index}")).row
        visits[f"q{index}"] = row.evidence.visits if row else 0
    assert max(visits.values()) - min(visits.values()) <= 2


async def test_uniform_allocation_makes_no_pilots(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config(allocator="grpo", max_steps=3))
    await learner.attach()
    await learner.train()
    view = await rig.ended()
    assert view.ledger.stages[Stage.PILOT].attempts == 0
    assert view.ledger.stages[Stage.COMMIT].attempts == 3 * 4 * 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Choosy(PilotCommit):
    """Passes over every prompt it has seen before."""

    def rank(self, candidates: Sequence[Candidate], demand: Demand, rng: np.random.Generator) -> Ranking:
        seen = [candidate for candidate in candidates if candidate.evidence.visits]
        return Ranking(
            claim=tuple(candidate.prompt_id for candidate in candidates if candidate not in seen)[: demand.prompts],
            passed_over=tuple(
                PassedOver(prompt_id=candidate.prompt_id, verdict=Verdict.SKIP, reason="seen") for candidate in seen
            ),
        )


async def test_a_prompt_that_history_passes_over_is_considered_and_costs_nothing(redis: Redis, rig: Rig) -> None:
    stores = await Stores.open(redis, "by-hand")
    config = make_config(batch_size=1, max_staleness=0)
    pipeline = Pipeline(batch_size=1, max_staleness=0, pilot_cap=4)
    claimed: list[str] = []

    def start(visit: Visit, prompt: Prompt, row: Row) -> None:
        claimed.append(prompt.prompt_id)

    admission = Admission(
        run_id="by-hand",
        config=config,
        fence=stores.lease.fence,
        rule=RuleInForce(Choosy(pilots=4, commits=4), runs=stores.runs, run_id="by-hand", step=0, batch_size=4),
        pipeline=pipeline,
        circuit=Circuit(config.breaker, run_id="by-hand", runs=stores.runs, transactor=stores.transactor),
        table=stores.table,
        visits=stores.visits,
        pools=RunPools(redis, config.mixture),
        transactor=stores.transactor,
        start=start,
        now=lambda: 1.0,
        rng=np.random.default_rng(0),
    )
    await stores.seed("q0", "q1")
    seen = await stores.claim("q0", rollouts=8)
    await stores.settle(seen)
    assert await admission.admit() == 1
    assert claimed == ["q1"]
    view = await stores.table.view("q0")
    assert (view.state, view.history[0].what, view.history[0].reason) == (PromptState.READY, "passed_over", "seen")
    ledger = await stores.audit()
    assert ledger.reserved_rollouts == 8
    assert (await stores.runs.counters("by-hand"))["passed_over:skip"] == 1
