"""Failures in budgets: incomplete groups as the run wants them, and a breaker that stops and resumes by itself."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from redis.asyncio import Redis

from inference.fake import Answer, Ask, FailWith
from scheduler.core.breaker import BreakerLimits, BreakerState
from scheduler.core.errors import RewardFailed
from scheduler.core.incomplete import IncompletePolicy
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import PromptState, RunState
from scheduler.core.overlong import OverlongPolicy
from scheduler.core.types import FinishReason, Stage
from scheduler.rewards.pool import Answer as RewardAnswer
from scheduler.rewards.spec import RewardJob, RewardSpec
from scheduler.service import RunView
from tests.scheduler.engine.factories import Coin, InstantRewards, make_config, make_settings
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, open_rig

NUM_FAULTS = 5


async def run_with_losses(rig: Rig, learner: Learner, policy: IncompletePolicy, *, min_group: int = 2) -> RunView:
    """A whole run whose first attempts are lost."""
    config = make_config(allocator="grpo", max_steps=3)
    await rig.create_run(replace(config, incomplete=policy, min_group=min_group))
    rig.fakes[0].faults.order("/generate", FailWith(status=500), count=NUM_FAULTS)
    await learner.attach()
    await learner.train()
    view = await rig.ended()
    assert view.ledger.stages[Stage.COMMIT].outcomes[Outcome.LOST] == NUM_FAULTS
    assert view.record.step == 3
    return view


async def test_a_group_is_refilled_by_default_and_counted(rig: Rig, learner: Learner) -> None:
    view = await run_with_losses(rig, learner, IncompletePolicy.REFILL)
    assert view.counters["incomplete:refilled"] >= 1
    assert {len(group.rollouts) for group in learner.received.values()} == {8}


async def test_a_group_is_accepted_from_its_least_number_of_rollouts_on(rig: Rig, learner: Learner) -> None:
    view = await run_with_losses(rig, learner, IncompletePolicy.ACCEPT)
    assert view.counters["incomplete:accepted"] >= 1
    assert "incomplete:refilled" not in view.counters
    assert view.ledger.stages[Stage.COMMIT].attempts == 8 * view.counters["verdict:commit"], "nothing was made again"
    assert min(len(group.rollouts) for group in learner.received.values()) < 8


async def test_a_group_below_its_least_number_is_refilled_though_less_would_be_accepted(
    rig: Rig, learner: Learner
) -> None:
    view = await run_with_losses(rig, learner, IncompletePolicy.ACCEPT, min_group=8)
    assert view.counters["incomplete:refilled"] >= 1
    assert "incomplete:accepted" not in view.counters


async def test_a_dropped_group_costs_nothing_more_and_its_prompt_comes_back(rig: Rig, learner: Learner) -> None:
    view = await run_with_losses(rig, learner, IncompletePolicy.DROP)
    dropped = view.counters["incomplete:dropped"]
    assert dropped == view.counters["verdict:incomplete"] >= 1
    assert view.ledger.stages[Stage.COMMIT].outcomes[Outcome.INCOMPLETE] == 8 * dropped - NUM_FAULTS
    assert view.prompts[PromptState.QUARANTINED] == 0
    assert {len(group.rollouts) for group in learner.received.values()} == {8}


class BrokenRewards(InstantRewards):
    """Judges nothing while it is broken."""

    is_broken = True

    async def judge(self, spec: RewardSpec, jobs: Sequence[RewardJob]) -> list[RewardAnswer]:
        if self.is_broken:
            return [RewardFailed("no judge answers") for _ in jobs]
        return await super().judge(spec, jobs)


async def breaker_is(rig: Rig, state: BreakerState) -> None:
    async def reached() -> bool:
        view = (await rig.view()).breaker
        return view is not None and view.breaker.state is state

    await rig.until(reached)


LIMITS = BreakerLimits(window=16, pause_s=0.2, max_pause_s=0.4, trial_claims=2)


async def test_failing_rewards_stop_claiming_until_they_work_again_and_an_operator_is_not_asked(
    redis: Redis, tmp_path: Path
) -> None:
    rewards = BrokenRewards()
    async with open_rig(redis, tmp_path, rewards=rewards) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        await rig.create_run(replace(make_config(max_steps=3), breaker=LIMITS))
        with structlog.testing.capture_logs() as logs:
            await learner.attach()
            await breaker_is(rig, BreakerState.OPEN)
        view = await rig.view()
        assert view.record.state is RunState.RUNNING
        assert "fewer failures: " in view.waiting_for
        assert "attempts that came back failed" in view.waiting_for
        opened = next(entry for entry in logs if entry["event"] == "breaker")
        assert (opened["state"], opened["tripped_by"], opened["log_level"]) == ("open", "data", "warning")
        assert opened["reason"] == "16 of the last 16 attempts that came back failed"

        async def two_trials_have_failed() -> bool:
            return (await rig.view()).counters["breaker:data"] >= view.counters["breaker:data"] + 2

        await rig.until(two_trials_have_failed)
        later = await rig.view()
        trips = later.counters["breaker:data"] - view.counters["breaker:data"]
        claims = later.counters["considered"] - view.counters["considered"]
        assert 0 < claims <= LIMITS.trial_claims * (trips + 1)
        rewards.is_broken = False
        await learner.train()
        ended = await rig.ended()
        assert ended.record.step == 3


async def test_an_operators_pause_outlives_the_breakers(redis: Redis, tmp_path: Path) -> None:
    rewards = BrokenRewards()
    async with open_rig(redis, tmp_path, rewards=rewards) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        await rig.create_run(replace(make_config(max_steps=2), breaker=LIMITS))
        await learner.attach()
        await breaker_is(rig, BreakerState.OPEN)
        await rig.service.orders.pause("run")
        rewards.is_broken = False
        view = await rig.view()
        assert view.waiting_for == "paused by an operator"
        assert view.breaker is not None
        assert view.breaker.breaker.state is BreakerState.OPEN
        await rig.service.orders.resume("run")
        await learner.train()
        assert (await rig.ended()).record.step == 2


async def test_servers_that_lose_most_attempts_stop_claiming_until_they_keep_them(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        rig.fakes[0].faults.order("/generate", FailWith(status=503), count=20)
        # Eight losses running: the server itself is then asked to prove itself, too.
        await rig.create_run(replace(make_config(max_steps=3), breaker=replace(LIMITS, window=8)))
        await learner.attach()
        await learner.train()
        view = await rig.ended()
        assert view.counters["breaker:infrastructure"] >= 1
        assert view.record.step == 3


async def test_the_watchdog_names_the_breaker(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, rewards=BrokenRewards(), settings=make_settings(stall_s=0.05)) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        with structlog.testing.capture_logs() as logs:
            await rig.create_run(replace(make_config(), breaker=replace(LIMITS, pause_s=60.0, max_pause_s=60.0)))
            await learner.attach()
            await rig.until(
                lambda: any(
                    "fewer failures" in str(entry.get("waiting_for")) for entry in logs if entry["event"] == "stalled"
                )
            )


async def test_the_watchdog_names_the_servers_that_attempts_are_on(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, settings=make_settings(stall_s=0.05), capacity=3) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        rig.fakes[0].hold()
        with structlog.testing.capture_logs() as logs:
            await rig.create_run(make_config())
            await learner.attach()
            await rig.until(
                lambda: any("3 attempts on http://fake0" in str(entry.get("waiting_for")) for entry in logs)
            )
        said = next(str(entry["waiting_for"]) for entry in logs if "on http://fake0" in str(entry.get("waiting_for")))
        assert "a server with room for" in said


class CutOff(Coin):
    """Wrong answers never end by themselves."""

    def answer(self, ask: Ask) -> Answer:
        answer = super().answer(ask)
        return replace(answer, stopped=answer.text == " yes")


@pytest.mark.parametrize("policy", OverlongPolicy)
async def test_overlong_completions_reach_the_learner_as_the_run_wants_them(
    redis: Redis, tmp_path: Path, policy: OverlongPolicy
) -> None:
    async with open_rig(redis, tmp_path, policy=CutOff(longest=10)) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        await rig.create_run(replace(make_config(max_steps=2), overlong=policy, overlong_cache=4))
        await learner.attach()
        await learner.train()
        view = await rig.ended()
        rollouts = [rollout for group in learner.received.values() for rollout in group.rollouts]
        assert {rollout.finish_reason for rollout in rollouts} == {FinishReason.STOP, FinishReason.LENGTH}
        for rollout in rollouts:
            cut_off = rollout.finish_reason is FinishReason.LENGTH
            assert rollout.masked is (policy is OverlongPolicy.MASK and cut_off)
            over = max(0, len(rollout.token_ids) - 6) / 4 if policy is OverlongPolicy.PENALISE else 0.0
            assert rollout.reward == pytest.approx(float(rollout.correct) - over)
        if policy is OverlongPolicy.MASK:
            assert "mixed:rollouts" not in view.counters, "what is left of each group is all right"
