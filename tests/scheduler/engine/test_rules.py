"""Every rule that ships, at work in the engine: rounds, surplus, waiting survivors, adaptation."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from redis.asyncio import Redis

from scheduler.core.allocators.catalogue import AllocatorName
from scheduler.core.allocators.interface import Allocator, Commit, Decision, Experience, More, Settle
from scheduler.core.allocators.rule import Rule
from scheduler.core.budget import Budget
from scheduler.core.informativeness import Evidence
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import RunState
from scheduler.core.prior import Prior
from scheduler.core.spend import first_visits, visits_judged
from scheduler.core.types import Prompt, Rollout, Stage, Verdict
from scheduler.core.uniform import uniform_rollouts
from scheduler.engine.pipeline import Pipeline, Slot
from scheduler.engine.rule_in_force import RuleInForce
from tests.scheduler.engine.factories import ALWAYS, NEVER, SOMETIMES, Coin, make_config, make_entry
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, let_time_run, open_rig
from tests.scheduler.state.stores import Stores


@pytest.mark.parametrize("name", AllocatorName)
async def test_every_rule_trains_its_steps_and_accounts_for_every_rollout(
    redis: Redis, tmp_path: Path, name: AllocatorName
) -> None:
    rates = [ALWAYS, NEVER, SOMETIMES, SOMETIMES, SOMETIMES, SOMETIMES] * 4
    async with open_rig(redis, tmp_path, rates=rates, num_servers=2, policy=Coin(longest=6)) as rig:
        await rig.create_run(
            make_config(allocator=name, max_steps=4, max_staleness=2, batches_ahead=1, batch_size=2, parameters={})
        )
        for fake in rig.fakes:
            fake.hold()
        time_runs = asyncio.create_task(let_time_run(rig.fakes, 1))
        learner = Learner(at=lambda: rig.service, folder=tmp_path, max_staleness=2)
        await learner.attach()
        await learner.train()
        view = await rig.ended()
        time_runs.cancel()
    assert (view.record.state, view.record.step) == (RunState.FINISHED, 4)
    assert view.ledger.is_balanced
    assert not any(sum(line.open.values()) for line in view.ledger.stages.values())
    assert not learner.refused
    uniform = [group for group in learner.received.values() if len({one.correct for one in group.rollouts}) == 1]
    assert not uniform or name in (AllocatorName.GRPO, AllocatorName.MOPPS, AllocatorName.ADAPTIVE)


async def test_a_rule_of_dynamic_sampling_discards_what_no_batch_needs(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, rates=[SOMETIMES] * 24) as rig:
        await rig.create_run(
            make_config(allocator="dapo", max_steps=2, max_staleness=0, batch_size=2, parameters={"rounds": 3})
        )
        learner = Learner(at=lambda: rig.service, folder=tmp_path, max_staleness=0)
        await learner.attach()
        await learner.train()
        view = await rig.ended()
    outcomes = view.ledger.stages[Stage.PILOT].outcomes
    assert outcomes[Outcome.TRAINED] == 2 * 2 * 8
    assert outcomes[Outcome.SURPLUS] > 0
    assert view.counters["considered"] % 6 == 0, "prompts are claimed in rounds of three batches"


async def test_a_batch_waits_for_the_last_of_its_round(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, rates=[SOMETIMES] * 24, capacity=4) as rig:
        await rig.create_run(make_config(max_steps=2, max_staleness=0, batch_size=2, parameters={"rounds": 3}))
        learner = Learner(at=lambda: rig.service, folder=tmp_path, max_staleness=0)
        await learner.attach()
        await learner.train(steps=1)
        assert (await rig.view()).counters["considered"] >= 6
        await learner.train()
        await rig.ended()


# Slots.


def make_pipeline(**changes: int | None) -> Pipeline:
    sizes: dict[str, int | None] = {"batch_size": 2, "max_staleness": 0, "pilot_cap": 64, **changes}
    pipeline = Pipeline(**sizes)  # type: ignore[arg-type]  # each test names only what it is about
    pipeline.change(policy_version=1)
    pipeline.set_live(1)
    return pipeline


async def test_fewer_batches_ahead_leave_survivors_the_time_to_wait_for_a_slot() -> None:
    pipeline = make_pipeline(max_staleness=2, batches_ahead=0)
    asked = [asyncio.create_task(pipeline.slot(str(index), 1)) for index in range(3)]
    await asyncio.sleep(0)
    assert [task.done() for task in asked] == [True, True, False]
    for index in range(2):
        pipeline.published_group(make_entry(str(index), oldest_version=1))
    pipeline.change(drop=["0", "1"], policy_version=2, step=1)
    pipeline.set_live(2)
    assert await asked[2] is Slot.GRANTED


async def test_what_is_not_to_wait_is_told_at_once_that_it_is_surplus() -> None:
    pipeline = make_pipeline()
    answers = [await pipeline.slot(str(index), 1, waits=False) for index in range(3)]
    assert answers == [Slot.GRANTED, Slot.GRANTED, Slot.SURPLUS]
    roomy = make_pipeline(max_staleness=1, batches_ahead=0)
    answers = [await roomy.slot(str(index), 1, waits=False) for index in range(3)]
    assert answers == [Slot.GRANTED, Slot.GRANTED, Slot.SURPLUS]
    assert roomy.held == []


def test_every_batch_begins_with_a_round_and_gets_more_until_it_is_full() -> None:
    pipeline = make_pipeline(round_batches=3)
    assert pipeline.claims_wanted == 6
    pipeline.num_visits += 6
    pipeline.round_begun()
    assert (pipeline.claims_wanted, pipeline.is_in_round) == (0, True)
    pipeline.num_visits = 0
    assert pipeline.claims_wanted == 6, "nothing survived, so another round"
    pipeline.round_begun()
    pipeline.change(put=[make_entry("a"), make_entry("b")])
    assert pipeline.claims_wanted == 0, "the batch is full, and the next may not begin"
    pipeline.change(drop=["a", "b"], policy_version=2, step=1)
    assert pipeline.claims_wanted == 0, "its weights are not live yet"
    pipeline.set_live(2)
    assert pipeline.claims_wanted == 6


def test_a_round_is_made_for_each_batch_even_if_survivors_of_the_last_would_fill_it() -> None:
    pipeline = make_pipeline(round_batches=3, max_staleness=4, batches_ahead=0)
    pipeline.round_begun()
    pipeline.change(put=[make_entry("a"), make_entry("b")])
    pipeline.change(drop=["a", "b"], put=[make_entry("c"), make_entry("d")], policy_version=2, step=1)
    pipeline.set_live(2)
    assert (pipeline.free, pipeline.claims_wanted) == (0, 6)
    pipeline.round_begun()
    assert pipeline.claims_wanted == 0


def test_no_round_is_made_for_steps_that_will_not_be_taken() -> None:
    pipeline = make_pipeline(round_batches=3, max_steps=1)
    pipeline.round_begun()
    pipeline.change(put=[make_entry("a"), make_entry("b")])
    pipeline.change(drop=["a", "b"], policy_version=2, step=1)
    pipeline.set_live(2)
    assert pipeline.claims_wanted == 0


# Adaptation.


class Listener(Rule):
    """Remembers what it was told."""

    name = "listener"
    largest_group = 2

    def __init__(self, heard: tuple[Experience, ...] = ()) -> None:
        self.heard = heard

    def decide(self, evidence: Evidence, rollouts: Sequence[Rollout]) -> Decision:
        if not rollouts:
            return More(count=1)
        if rollouts[0].correct:
            return Commit(count=1)
        return Settle(verdict=Verdict.DEFER, reason="wrong", revisit_after=0)

    def adapted(self, experience: Experience) -> "Listener":
        return Listener((*self.heard, experience))


async def test_a_rule_hears_once_a_step_what_happened_since(redis: Redis) -> None:
    stores = await Stores.open(redis, "by-hand")
    listener: Allocator = Listener()
    rule = RuleInForce(listener, runs=stores.runs, run_id="by-hand", step=0, batch_size=4)
    await stores.seed("a", "b", "c")
    await stores.settle(await stores.claim("a", rollouts=8))
    await rule.follow(0, version=0)
    assert rule.allocator is listener, "nothing was learnt yet"
    await rule.follow(1, version=1)
    await rule.follow(1, version=1)
    await stores.make_group("b", version=1)
    await rule.follow(2, version=2)
    assert isinstance(rule.allocator, Listener)
    first, second = rule.allocator.heard
    assert (first.step, second.step) == (1, 2)
    counters = await stores.runs.counters("by-hand")
    assert first.num_rollouts + second.num_rollouts == counters["spent:rollouts"]
    assert second.visits[Verdict.COMMIT] == 1
    assert second.num_grouped == counters["grouped:rollouts"] > 0
    assert first.num_mixed + second.num_mixed == counters["mixed:rollouts"]
    assert second.signal == counters["signal:milli"] / 1000


class EarlyListener(Listener):
    """Wants to hear before the next step."""

    adapts_early = True

    def adapted(self, experience: Experience) -> "EarlyListener":
        return EarlyListener((*self.heard, experience))


@pytest.mark.parametrize("listener", [Listener(), EarlyListener()])
async def test_a_rule_that_adapts_early_hears_of_visits_that_bring_no_step_near(
    redis: Redis, listener: Listener
) -> None:
    stores = await Stores.open(redis, "by-hand")
    rule = RuleInForce(listener, runs=stores.runs, run_id="by-hand", step=0, batch_size=1)
    ids = [f"p{index}" for index in range(8)]
    await stores.seed(*ids)
    for prompt_id in ids:
        await rule.follow(0, version=1)
        assert rule.allocator is listener
        await stores.settle(await stores.claim(prompt_id, rollouts=4))
        rule.saw(Prompt(prompt_id=prompt_id, input_ids=(1,)), [], version=1)
    await rule.follow(0, version=1)
    await rule.follow(0, version=1)
    assert isinstance(rule.allocator, Listener)
    heard = rule.allocator.heard
    assert [one.step for one in heard] == ([0] if listener.adapts_early else [])
    await rule.follow(1, version=2)
    assert rule.allocator.heard[-1].step == 1


async def test_the_prior_outlives_a_scheduler(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config(max_steps=3))
    await learner.attach()
    await learner.train()
    await rig.ended()
    counters = (await rig.view()).counters
    seen = first_visits(counters)
    assert seen
    assert all(0 <= right <= pilots == 4 for right, pilots in seen)
    stores = rig.stores(make_config())
    rule = RuleInForce(Listener(), runs=stores.runs, run_id="run", step=3, batch_size=4)
    await rule.recover()
    assert rule.prior != Prior()
    await rule.follow(3, version=3)
    assert isinstance(rule.allocator, Listener)
    assert rule.allocator.heard == ()


async def test_every_verdict_on_a_prompt_judged_before_is_counted_with_that_before_it(
    rig: Rig, learner: Learner
) -> None:
    await rig.create_run(make_config(budget=Budget(rollouts=600)))
    await learner.attach()
    await learner.train()
    counters = (await rig.ended()).counters
    revisits = {name: count for name, count in counters.items() if name.startswith("revisits:")}
    judged = sum(visits_judged(counters, verdict) for verdict in Verdict)
    rows = [(await rig.service.views.prompt("run", f"q{index}")).row for index in range(40)]
    ever_judged = sum(row is not None and row.evidence.last_verdict is not None for row in rows)
    assert sum(revisits.values()) == judged - ever_judged > 0
    for verdict in Verdict:
        assert sum(count for name, count in revisits.items() if name.endswith(f":{verdict}")) <= visits_judged(
            counters, verdict
        )


async def test_a_run_that_samples_whole_groups_of_whatever_comes_costs_what_uniform_is_said_to_cost(
    redis: Redis, tmp_path: Path
) -> None:
    async with open_rig(redis, tmp_path, rates=range(1, 100)) as rig:
        await rig.create_run(make_config(allocator="dapo", budget=Budget(rollouts=960), max_staleness=0))
        learner = Learner(at=lambda: rig.service, folder=rig.folder, max_staleness=0)
        await learner.attach()
        await learner.train()
        view = await rig.ended()
        surplus = view.ledger.stages[Stage.PILOT].outcomes[Outcome.SURPLUS] // 8
        mixed = view.counters["mixed:groups"] + surplus
        uniform = uniform_rollouts({**view.counters, "mixed:groups": mixed}, view.record.config.group_size)
        assert surplus
        assert uniform == pytest.approx(view.ledger.spent_rollouts, rel=0.06)
