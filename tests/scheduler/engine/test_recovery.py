"""A scheduler that dies anywhere, and what its successor makes of it."""

import asyncio
import random
from pathlib import Path

import pytest
from redis.asyncio import Redis

from inference.fake import Answer, Ask
from scheduler.core.budget import Budget
from scheduler.core.errors import StaleIncarnation
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import RunState
from scheduler.core.types import Stage
from tests.scheduler.engine.factories import NEVER, Coin, make_config
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, let_time_run, open_rig


async def test_pilots_in_flight_at_a_crash_are_lost_charged_in_full_and_made_again(rig: Rig, learner: Learner) -> None:
    config = make_config(budget=Budget(rollouts=400))
    await rig.create_run(config)
    rig.fakes[0].hold()
    await learner.attach()
    await rig.until(lambda: len(rig.fakes[0].in_flight) >= 16)
    await rig.crash()
    open_before = {visit.prompt_id for visit, _ in await rig.stores(config).visits.open_visits()}
    attempts = (await rig.stores(config).runs.ledger("run")).stages[Stage.PILOT].attempts
    await rig.take_up("run")
    rig.fakes[0].release()
    await learner.train()
    view = await rig.ended()
    pilots = view.ledger.stages[Stage.PILOT]
    assert pilots.outcomes[Outcome.LOST] == attempts
    assert view.ledger.spent_tokens >= 10 * attempts
    for prompt_id in open_before:
        assert (await rig.service.views.prompt("run", prompt_id)).history, "it was claimed, so it was seen through"


async def test_pilots_that_had_come_back_are_not_made_again(rig: Rig, learner: Learner) -> None:
    """Commits are held up by a server that stops; the pilots before them are in Redis."""
    config = make_config()
    await rig.create_run(config)
    await learner.attach()
    stores = rig.stores(config)

    async def commits_are_in_flight() -> bool:
        await rig.fakes[0].step()
        return any(visit.in_flight.get(Stage.COMMIT) for visit, _ in await stores.visits.open_visits())

    async def waits_for_the_learner() -> bool:
        return "the learner" in (await rig.view()).waiting_for

    await rig.until(waits_for_the_learner)
    rig.fakes[0].hold()
    batch = await learner.take()
    assert batch is not None
    await learner.apply(batch)
    await rig.until(lambda: bool(rig.fakes[0].in_flight))
    await rig.until(commits_are_in_flight)
    await rig.crash()
    held = {visit.visit_id: rollouts for visit, rollouts in await stores.visits.open_visits() if rollouts}
    await rig.take_up("run")
    rig.fakes[0].release()
    await learner.train(steps=4)
    for visit_id, rollouts in held.items():
        group = learner.received.get(visit_id)
        if group is not None:
            assert group.rollouts[: len(rollouts)] == rollouts
    assert set(held) & set(learner.received), "a held visit became the group that it would have become"


async def test_a_successors_commits_do_not_repeat_its_predecessors_pilots(redis: Redis, tmp_path: Path) -> None:
    seeds: list[int | None] = []

    class Noting(Coin):
        def answer(self, ask: Ask) -> Answer:
            seeds.append(ask.seed)
            return super().answer(ask)

    async with open_rig(redis, tmp_path, policy=Noting()) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        await rig.create_run(make_config(max_steps=3))
        await learner.attach()
        await learner.train(steps=1)
        await rig.succeed("run")
        await learner.train()
        await rig.ended()
    assert len(seeds) == len(set(seeds))


async def test_groups_published_and_applied_at_a_crash_are_trained_once(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config(max_steps=6))
    await learner.attach()
    await learner.train(steps=2, checkpoint_every=10)
    batch = await learner.take()
    assert batch is not None
    await rig.succeed("run")
    await learner.attach()  # The same incarnation: nothing changes.
    again = await learner.take()
    assert again is not None
    assert set(again.group_ids) == set(batch.group_ids), "a batch that was formed stays as it is"
    await learner.apply(again)
    await learner.train()
    view = await rig.ended()
    assert view.counters["groups:trained"] == 24 == len(learner.lineage)


async def test_a_report_whose_answer_was_lost_with_the_scheduler_can_be_made_again(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config(max_steps=4))
    await learner.attach()
    batch = await learner.take()
    assert batch is not None
    first = await learner.apply(batch)
    assert (await learner.report()).version == first.version
    await rig.succeed("run")
    await learner.attach()
    assert (await learner.report()).version == first.version
    await learner.checkpoint()
    await learner.checkpoint()
    await learner.train()
    assert (await rig.ended()).counters["groups:trained"] == 16


@pytest.mark.parametrize("state", ["exhausted", "cancelled"])
async def test_a_run_ends_as_it_was_going_to_though_its_scheduler_died_while_it_drained(
    rig: Rig, learner: Learner, state: str
) -> None:
    await rig.create_run(make_config(budget=Budget(rollouts=60) if state == "exhausted" else None))
    await learner.attach()
    await learner.train(steps=2, checkpoint_every=10)
    if state == "cancelled":
        await rig.service.orders.cancel("run")

    async def is_draining() -> bool:
        return await rig.state() is RunState.DRAINING

    await rig.until(is_draining)
    await rig.succeed("run")
    await learner.attach()
    learner.save()
    await learner.train()
    view = await rig.ended()
    assert view.record.state == state


async def test_a_learner_that_died_loses_its_unsaved_steps_and_no_group(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config(max_steps=8, max_staleness=2))
    learner.max_staleness = 2
    await learner.attach()
    await learner.train(steps=3, checkpoint_every=2)
    applied = set(learner.lineage)
    second = learner.restarted("learner-2")
    await second.attach()
    assert second.step == 2
    with pytest.raises(StaleIncarnation):
        await learner.take()
    with pytest.raises(StaleIncarnation):
        await learner.report()
    with pytest.raises(StaleIncarnation):
        await learner.checkpoint()
    await second.train()
    view = await rig.ended()
    for group_id in applied - set(second.lineage):
        history = (await rig.service.views.prompt("run", learner.received[group_id].prompt_id)).history
        assert {event.what for event in history if event.group_id == group_id} & {"rolled_back", "expired"}
    assert view.counters["groups:trained"] == len(second.lineage) == len(set(second.lineage))


async def test_a_checkpoint_that_was_never_reported_still_counts(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config(max_steps=5))
    await learner.attach()
    await learner.train(steps=2, checkpoint_every=10)
    learner.save()
    second = learner.restarted("learner-2")
    await second.attach()
    assert (await rig.view()).counters["groups:trained"] == 8
    await second.train()
    await rig.ended()
    assert set(learner.saved.lineage) <= set(second.lineage)


async def test_the_last_step_is_taken_again_if_its_learner_died_before_saving_it(rig: Rig, learner: Learner) -> None:
    """Its groups are too stale by then: others are sampled for it, though the run was about to end."""
    await rig.create_run(make_config(max_steps=3))
    await learner.attach()
    await learner.train(steps=3, checkpoint_every=2)

    async def waits_for_the_save() -> bool:
        return "the learner to save step 3" in (await rig.view()).waiting_for

    await rig.until(waits_for_the_save)
    second = learner.restarted("learner-2")
    await second.attach()
    await second.train()
    view = await rig.ended()
    assert view.record.step == 3
    assert view.counters["groups:trained"] == 12


@pytest.mark.parametrize("seed", range(4))
async def test_whoever_dies_at_whichever_moment_nothing_is_lost_or_trained_twice(
    redis: Redis, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    budget = Budget(rollouts=900, tokens=7000)
    rates = [rng.choice([10, 30, 50, 50, 70, 90, NEVER]) for _ in range(30)]
    async with open_rig(redis, tmp_path, num_servers=2, policy=Coin(longest=10), capacity=16, rates=rates) as rig:
        await rig.create_run(make_config(budget=budget, max_staleness=seed % 3, seed=seed))
        for fake in rig.fakes:
            fake.hold()
        time_runs = asyncio.create_task(let_time_run(rig.fakes, seed))
        learner = Learner(at=lambda: rig.service, folder=tmp_path, max_staleness=seed % 3)
        for death in range(6):
            training = asyncio.create_task(train(learner))
            for _ in range(rng.randint(20, 400)):
                await asyncio.sleep(0)
            training.cancel()
            await asyncio.gather(training, return_exceptions=True)
            if rng.random() < 0.7:
                await rig.succeed("run")
            if rng.random() < 0.5:
                rng.choice(rig.fakes).restart()
            if rng.random() < 0.7:
                learner = learner.restarted(f"learner-{death + 2}")
        await train(learner)
        view = await rig.ended()
        time_runs.cancel()
        assert view.record.state is RunState.EXHAUSTED
        assert view.counters["groups:trained"] == len(learner.lineage) == len(set(learner.lineage))
        assert max(learner.staleness, default=0) <= seed % 3


PAUSED_AT = {
    ("/pause_generation", True),
    ("/update_weights_from_disk", False),
    ("/update_weights_from_disk", True),
    ("/weights_checker", False),
    ("/weights_checker", True),
    ("/continue_generation", False),
}
"""The moments of a push at which a scheduler that is killed leaves a server paused."""
WHEN = pytest.mark.parametrize("after", [False, True], ids=["before", "after"])


@pytest.mark.timeout(240)
@WHEN
async def test_a_scheduler_that_dies_at_every_durable_change_in_turn_loses_nothing(
    redis: Redis, tmp_path: Path, after: bool
) -> None:
    """Each change is one script: claim, launch, land, publish, batch, apply, save; written, or written unanswered."""
    budget = Budget(rollouts=1200, tokens=9000)
    async with open_rig(redis, tmp_path, num_servers=2, policy=Coin(longest=10)) as rig:
        await rig.create_run(make_config(budget=budget, max_staleness=1))
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        for number in range(1, 25):
            rig.connection.die_at("EVALSHA", number, after=after)
            training = asyncio.create_task(train(learner))
            dying = asyncio.create_task(rig.connection.died.wait())
            await asyncio.wait({training, dying}, timeout=20.0, return_when=asyncio.FIRST_COMPLETED)
            assert dying.done(), f"there was no change number {number}"
            training.cancel()
            await asyncio.gather(training, return_exceptions=True)
            await rig.succeed("run")
            learner = learner.restarted(f"learner-{number + 1}")
        await train(learner)
        view = await rig.ended()
        assert view.record.state is RunState.EXHAUSTED
        assert view.counters["groups:trained"] == len(learner.lineage) == len(set(learner.lineage))
        assert all(fake.ready for fake in rig.fakes)


@WHEN
@pytest.mark.parametrize(
    "path",
    ["/generate", "/pause_generation", "/update_weights_from_disk", "/weights_checker", "/continue_generation"],
)
async def test_a_scheduler_that_dies_at_any_call_to_a_server_leaves_none_paused_to_its_successor(
    rig: Rig, learner: Learner, path: str, after: bool
) -> None:
    await rig.create_run(make_config(max_steps=5))
    await learner.attach()
    await learner.train(steps=1, checkpoint_every=1)
    rig.connection.die_at(path, after=after)
    training = asyncio.create_task(learner.train())
    async with asyncio.timeout(20.0):
        await rig.connection.died.wait()
    training.cancel()
    await asyncio.gather(training, return_exceptions=True)
    await rig.crash()
    assert rig.fakes[0].ready is ((path, after) not in PAUSED_AT)
    await rig.audit()
    await rig.take_up("run")
    second = learner.restarted("learner-2")
    await train(second)
    view = await rig.ended()
    assert rig.fakes[0].ready
    assert view.counters["groups:trained"] == len(second.lineage) == len(set(second.lineage))
    assert rig.fakes[0].decoder.stale_hits == 0


async def train(learner: Learner) -> None:
    """Attach and train to the end."""
    await learner.attach()
    await learner.train()
