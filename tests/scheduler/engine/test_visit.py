"""One visit to one prompt: what it asks, what it writes, and how it ends."""

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from inference.fake import Answer, Ask, FailWith
from scheduler.core.budget import Budget
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import PromptState, RunState
from scheduler.core.types import Stage, Verdict
from tests.scheduler.engine.factories import ALWAYS, NEVER, Coin, make_config
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, open_rig


class CountingCoin(Coin):
    """Notes how often it was asked, and with which seeds."""

    def __init__(self) -> None:
        super().__init__()
        self.seeds: list[int | None] = []

    def answer(self, ask: Ask) -> Answer:
        self.seeds.append(ask.seed)
        return super().answer(ask)


async def test_every_attempt_is_a_request_with_a_seed_of_its_own(redis: Redis, tmp_path: Path) -> None:
    coin = CountingCoin()
    async with open_rig(redis, tmp_path, policy=coin, rates=[50, ALWAYS, NEVER, 50] * 20) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        await rig.create_run(make_config(max_steps=6, parameters={"defer_for": 100, "evict_for": 100}))
        await learner.attach()
        await learner.train()
        view = await rig.ended()
        attempts = sum(view.ledger.stages[stage].attempts for stage in Stage)
        assert len(coin.seeds) == attempts == len(set(coin.seeds))


async def test_the_evidence_of_a_prompt_counts_the_rejected_pilots_too(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, rates=[50] * 12 + [ALWAYS]) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        await rig.create_run(make_config(max_steps=4))
        await learner.attach()
        await learner.train()
        await rig.ended()
        view = await rig.service.views.prompt("run", "q12")
        assert view.row is not None
        assert view.row.evidence.num_pilots == 4 * len(view.history)
        assert view.row.evidence.last_verdict is Verdict.EVICT
        assert view.row.evidence.belief.a > 4
        assert (view.history[0].what, view.history[0].reason) == ("evict", "solved")
        assert (view.history[0].pilots, view.history[0].correct) == (4, 4)


async def test_a_groups_whole_way_is_in_its_prompts_history(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config(max_steps=1))
    await learner.attach()
    await learner.train()
    await rig.ended()
    [name] = learner.batches[1][:1]
    history = (await rig.service.views.prompt("run", learner.received[name].prompt_id)).history
    assert [event.what for event in history if event.group_id == name] == ["trained", "published"]


async def test_a_group_that_the_budget_cannot_complete_is_incomplete_and_the_budget_holds(
    rig: Rig, learner: Learner
) -> None:
    # Half of all attempts are lost: the reservations of the claims are not enough.
    for _ in range(60):
        rig.fakes[0].faults.order("/generate", FailWith(status=500))
    await rig.create_run(make_config(budget=Budget(rollouts=40), max_attempts=6))
    await learner.attach()
    await learner.train()
    view = await rig.ended()
    assert view.record.state is RunState.EXHAUSTED
    assert view.counters.get("verdict:incomplete", 0) > 0
    assert view.ledger.spent_rollouts <= 40


async def test_a_visit_that_two_schedulers_died_on_reserves_again_what_they_lost(rig: Rig, learner: Learner) -> None:
    """Its claim paid for eight attempts; four were lost with each scheduler."""
    config = make_config(batch_size=1, max_staleness=0, budget=Budget(rollouts=60), max_steps=1)
    await rig.create_run(config)
    rig.fakes[0].hold()
    await learner.attach()
    for _ in range(3):
        await rig.until(lambda: len(rig.fakes[0].in_flight) >= 4)
        await rig.succeed("run")
    rig.fakes[0].release()
    await learner.train()
    view = await rig.ended()
    assert view.ledger.stages[Stage.PILOT].outcomes[Outcome.LOST] >= 12
    assert view.record.step == 1


async def test_a_visit_that_two_schedulers_died_on_gives_up_where_nothing_is_left(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config(batch_size=1, max_staleness=0, budget=Budget(rollouts=16)))
    rig.fakes[0].hold()
    await learner.attach()
    for _ in range(2):
        await rig.until(lambda: len(rig.fakes[0].in_flight) >= 4)
        await rig.succeed("run")
    rig.fakes[0].release()
    await learner.train()
    view = await rig.ended()
    assert view.record.state is RunState.EXHAUSTED
    assert view.ledger.spent_rollouts <= 16
    assert view.prompts[PromptState.CLAIMED] == 0


@pytest.mark.parametrize("turns", range(0, 400, 80))
async def test_a_run_can_be_cancelled_at_any_moment_and_its_books_close(
    redis: Redis, tmp_path: Path, turns: int
) -> None:
    async with open_rig(redis, tmp_path) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        await rig.create_run(make_config())
        await learner.attach()
        training = asyncio.create_task(learner.train(checkpoint_every=1))
        for _ in range(turns):
            await asyncio.sleep(0)
        await rig.service.orders.cancel("run")
        # A step that the learner was reporting is refused, as a real one finds out too.
        await asyncio.gather(training, return_exceptions=True)
        if learner.step > learner.saved.step:
            await learner.checkpoint()
        assert (await rig.ended()).record.state is RunState.CANCELLED
