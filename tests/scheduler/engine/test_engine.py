"""Whole runs: how they end, and what holds on the way."""

import asyncio
import itertools
from collections import Counter
from pathlib import Path

import pytest
import structlog
from redis.asyncio import Redis

from inference.fake import Answer, Ask, FakeServer
from scheduler.core.budget import Budget
from scheduler.core.course import Turn
from scheduler.core.errors import Conflict, FenceLost
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import PromptState, RunState
from scheduler.core.types import Prompt, Stage
from scheduler.state.course import course
from scheduler.state.keys import RunKeys
from scheduler.state.leases import Lease
from scheduler.state.pools import PoolStore
from tests.scheduler.engine.factories import (
    ALWAYS,
    CONTEXT_LENGTH,
    NEVER,
    Coin,
    make_config,
    make_prompts,
    make_settings,
)
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import LEASE_TTL_S, Rig, let_time_run, open_rig


@pytest.mark.parametrize(
    ("allocator", "budget"),
    [
        ("pilot_commit", Budget(rollouts=300)),
        ("pilot_commit", Budget(tokens=900)),
        ("grpo", Budget(rollouts=199)),
    ],
)
async def test_a_run_spends_its_budget_and_not_one_rollout_more(
    rig: Rig, learner: Learner, allocator: str, budget: Budget
) -> None:
    await rig.create_run(make_config(allocator=allocator, budget=budget))
    await learner.attach()
    await learner.train()
    view = await rig.ended()
    assert view.record.state is RunState.EXHAUSTED
    assert learner.final is not None
    assert (learner.final.state, learner.final.reason) == ("exhausted", view.record.reason)
    if budget.rollouts is not None:
        assert budget.rollouts - 8 < view.ledger.spent_rollouts <= budget.rollouts
    if budget.tokens is not None:
        assert budget.tokens - 80 < view.ledger.spent_tokens <= budget.tokens
    assert sorted(learner.lineage) == sorted(set(learner.lineage))
    assert view.counters["groups:trained"] == len(learner.lineage)


@pytest.mark.parametrize("max_staleness", [0, 1, 2])
async def test_max_steps_are_taken_and_no_commit_is_spent_on_more(
    rig: Rig, learner: Learner, max_staleness: int
) -> None:
    await rig.create_run(make_config(max_steps=5, max_staleness=max_staleness))
    learner.max_staleness = max_staleness
    await learner.attach()
    await learner.train(checkpoint_every=3)
    view = await rig.ended()
    assert (view.record.state, view.record.step) == (RunState.FINISHED, 5)
    assert view.ledger.stages[Stage.COMMIT].attempts == view.ledger.stages[Stage.COMMIT].outcomes[Outcome.TRAINED]
    assert view.counters["verdict:commit"] == 5 * 4


@pytest.mark.parametrize("allocator", ["pilot_commit", "grpo"])
@pytest.mark.parametrize("max_staleness", [0, 1, 2])
@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_staler_than_asked_for_is_ever_consumed(
    redis: Redis, tmp_path: Path, max_staleness: int, seed: int, allocator: str
) -> None:
    async with open_rig(redis, tmp_path, num_servers=2, capacity=8, policy=Coin(longest=10)) as rig:
        await rig.create_run(make_config(allocator=allocator, max_steps=6, max_staleness=max_staleness, seed=seed))
        for fake in rig.fakes:
            fake.hold()
        time_runs = asyncio.create_task(let_time_run(rig.fakes, seed))
        learner = Learner(at=lambda: rig.service, folder=tmp_path, max_staleness=max_staleness)
        await learner.attach()
        await learner.train()
        view = await rig.ended()
        time_runs.cancel()
        assert view.record.step == 6
        assert set(learner.staleness) <= set(range(max_staleness + 1))
        assert not learner.refused, "the learner's own check is a guarantee that never had to fire"


async def test_without_staleness_no_rollout_is_older_than_the_policy_it_trains(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config(max_steps=4, max_staleness=0))
    await learner.attach()
    learner.max_staleness = 0
    await learner.train()
    await rig.ended()
    for step, group_ids in learner.batches.items():
        versions = {
            span.version for name in group_ids for done in learner.received[name].rollouts for span in done.spans
        }
        assert versions == {step}


async def test_a_cancelled_run_accounts_for_everything_and_keeps_what_is_saved(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config())
    await learner.attach()
    await learner.train(steps=3, checkpoint_every=1)
    await rig.service.orders.cancel("run")
    assert (await learner.last_word()).state == "cancelled"
    view = await rig.ended()
    assert view.record.state is RunState.CANCELLED
    assert view.counters["groups:trained"] == 12
    with pytest.raises(Conflict, match="has ended"):
        await rig.service.orders.cancel("run")


async def test_what_a_cancelled_run_never_saved_is_rolled_back(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, settings=make_settings(end_grace_s=0.05)) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        await rig.create_run(make_config())
        await learner.attach()
        await learner.train(steps=1)
        await rig.service.orders.cancel("run")
        view = await rig.ended()
        assert view.ledger.stages[Stage.COMMIT].outcomes[Outcome.ROLLED_BACK] == 16


async def test_a_run_is_cancelled_in_the_middle_of_its_attempts(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config())
    rig.fakes[0].hold()
    await learner.attach()
    await rig.until(lambda: len(rig.fakes[0].in_flight) > 8)
    await rig.service.orders.cancel("run")
    view = await rig.ended()
    pilots = view.ledger.stages[Stage.PILOT]
    assert pilots.outcomes[Outcome.CANCELLED] == pilots.attempts
    assert view.ledger.spent_tokens == 10 * pilots.attempts, "what a cancelled attempt generated is not known"
    assert rig.fakes[0].in_flight == ()


async def test_a_paused_run_can_be_cancelled(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config())
    await learner.attach()
    await learner.train(steps=1, checkpoint_every=1)
    await rig.service.orders.pause("run")
    await rig.service.orders.cancel("run")
    assert (await rig.ended()).record.state is RunState.CANCELLED


async def test_a_paused_run_claims_nothing_until_it_is_resumed(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config(max_steps=6))
    await learner.attach()
    await learner.train(steps=1)
    await rig.service.orders.pause("run")
    with pytest.raises(Conflict, match="paused"):
        await rig.service.orders.pause("run")
    view = await rig.view()
    assert view.waiting_for == "paused by an operator"

    async def visits_are_over() -> bool:
        return (await rig.view()).prompts[PromptState.CLAIMED] == len(rig.fakes[0].in_flight) == 0

    # The learner goes on with what there is.
    training = asyncio.create_task(learner.train())
    await rig.until(visits_are_over)
    considered = (await rig.view()).counters["considered"]
    for _ in range(50):
        await asyncio.sleep(0.002)
    assert (await rig.view()).counters["considered"] == considered
    await rig.service.orders.resume("run")
    await training
    assert (await rig.ended()).record.step == 6


async def test_the_wall_clock_stops_admission_and_what_is_open_is_trained(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config(budget=Budget(wall_clock_s=1.0)))
    await learner.attach()
    await learner.train()
    view = await rig.ended()
    assert view.record.state is RunState.EXHAUSTED
    assert "wall-clock budget of 1 s" in view.record.reason
    assert learner.lineage


async def test_a_pool_that_is_too_hard_never_raises_and_is_looked_at_again(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, rates=[NEVER] * 6) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        await rig.create_run(make_config(budget=Budget(rollouts=400)))
        rig.fakes[0].hold()
        time_runs = asyncio.create_task(let_time_run(rig.fakes, 1))
        await learner.attach()
        training = asyncio.create_task(learner.train())

        async def is_revisiting() -> bool:
            return "informative prompts" in (await rig.view()).waiting_for

        await rig.until(is_revisiting)
        await training
        view = await rig.ended()
        time_runs.cancel()
        assert view.record.state is RunState.EXHAUSTED
        assert view.counters["verdict:defer"] > 6
        assert view.prompts[PromptState.WAITING] + view.prompts[PromptState.READY] == 6
        assert learner.lineage == []


async def test_a_pool_that_is_solved_for_good_ends_the_run(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, rates=[ALWAYS] * 6) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        await rig.create_run(make_config(parameters={"evict_for": None}))
        await learner.attach()
        await learner.train()
        view = await rig.ended()
        assert (view.record.state, view.record.reason) == (RunState.FINISHED, "no prompt is left to claim")
        assert view.counters["verdict:evict"] == 6


async def test_deferred_prompts_return_after_their_versions(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, rates=[50] * 20 + [NEVER]) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        await rig.create_run(make_config(parameters={"defer_for": 2}, max_steps=12))
        await learner.attach()
        await learner.train()
        await rig.ended()
        versions = [event.version for event in (await rig.service.views.prompt("run", "q20")).history]
        assert len(versions) > 1
        assert all(later - earlier >= 2 for later, earlier in itertools.pairwise(versions))


class Learnt(Coin):
    """Right and wrong by turns for one group, and right ever after: each prompt is worth one group."""

    def __init__(self) -> None:
        super().__init__()
        self._asked: Counter[int] = Counter()

    def answer(self, ask: Ask) -> Answer:
        self._asked[ask.input_ids[-1]] += 1
        asked = self._asked[ask.input_ids[-1]]
        return Answer(token_ids=(5,), logprobs=(-0.5,), text=" yes" if asked > 8 or asked % 2 else " no")


@pytest.mark.parametrize(
    ("partial_batches", "ends"), [(True, RunState.FINISHED), (False, RunState.EXHAUSTED)], ids=["asked for", "not"]
)
async def test_a_short_batch_is_trained_before_the_end_only_if_asked_for(
    redis: Redis, tmp_path: Path, partial_batches: bool, ends: RunState
) -> None:
    async with open_rig(redis, tmp_path, rates=[1, 2, 3], policy=Learnt()) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        await rig.create_run(make_config(partial_batches=partial_batches, budget=Budget(rollouts=200), max_steps=1))
        await learner.attach()
        await learner.train()
        view = await rig.ended()
        assert view.record.state is ends
        assert len(learner.batches[1]) == 3
        assert (view.ledger.spent_rollouts < 100) is partial_batches


async def test_prompts_that_arrive_during_a_run_are_visited(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config(max_steps=8))
    await learner.attach()
    await learner.train(steps=1)
    await PoolStore(redis=rig.redis).add("sums", make_prompts([50] * 4, prefix="late"))
    await learner.train()
    await rig.ended()
    assert (await rig.service.views.prompt("run", "late3")).history


async def test_a_prompt_that_no_server_accepts_is_set_aside_with_the_reason(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, rates=[50] * 6) as rig:
        too_long = Prompt(prompt_id="long", input_ids=(1,) * CONTEXT_LENGTH, text="?", answer="yes")
        await PoolStore(rig.redis).add("sums", [too_long])
        await rig.create_run(make_config(max_steps=4))
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        await learner.attach()
        await learner.train()
        view = await rig.ended()
        prompt = await rig.service.views.prompt("run", "long")
        assert prompt.state is PromptState.QUARANTINED
        assert "do not fit into the context" in prompt.history[0].reason
        assert view.counters["verdict:quarantined"] == 1
        assert (await rig.service.orders.reinstate("run", "long")).state is PromptState.READY


async def test_a_silent_stream_beats_and_says_what_it_waits_for(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config())
    rig.fakes[0].hold()
    await learner.attach()
    taking = asyncio.create_task(learner.take())
    await rig.until(lambda: len(learner.heartbeats) >= 2)
    assert learner.heartbeats[0] == "4 more groups for the batch of step 1"
    taking.cancel()


async def test_the_watchdog_names_a_stall(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, settings=make_settings(stall_s=0.05)) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        with structlog.testing.capture_logs() as logs:
            await rig.create_run(make_config())
            await learner.attach()
            # The learner never takes a batch.
            said = "the learner to apply step 1"
            await rig.until(lambda: len([entry for entry in logs if entry.get("waiting_for") == said]) >= 2)
            idle_s = (await rig.view()).idle_s
        told = [entry for entry in logs if entry.get("waiting_for") == said]
        assert {entry["event"] for entry in told} == {"stalled"}
        # It goes on growing from the last progress, however often that was said.
        assert idle_s is not None
        assert 0.05 <= told[0]["idle_s"] < told[1]["idle_s"] <= idle_s
        stalls = [event.reason for event in await course(redis, RunKeys("run")) if event.what is Turn.STALL]
        assert stalls.count(said) == 1, "the course of a run is not filled with one stall"


async def test_an_engine_whose_lease_was_taken_stops_at_once(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config())
    await learner.attach()
    stores = rig.stores(make_config())
    await rig.redis.delete(stores.keys.lease_alive)
    await Lease.acquire(rig.redis, stores.keys, holder="another", ttl_s=LEASE_TTL_S)
    writing = asyncio.gather(learner.train(), return_exceptions=True)
    error = await rig.conduct_ended()
    assert isinstance(error, ExceptionGroup)
    assert error.subgroup(FenceLost) is not None
    writing.cancel()
    before = await stores.runs.counters("run")
    for fake in rig.fakes:
        assert isinstance(fake, FakeServer)
    assert await stores.runs.counters("run") == before
