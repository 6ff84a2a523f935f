"""Servers and rewards that fail in every way, seen from a run: attempts are charged, made again and accounted for."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from inference.fake import Answer, Ask, Drop, FailWith, FakeServer, Fault, Hang, Mislabel
from scheduler.core.budget import Budget
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import PromptState, ServerState
from scheduler.core.types import Stage
from scheduler.engine.attempts import Sender
from scheduler.engine.flights import Flights
from scheduler.engine.judging import Judge
from scheduler.fleet import Fleet
from scheduler.rewards.pool import RewardPool
from scheduler.rewards.spec import parse_spec
from tests.scheduler.engine.factories import SOMETIMES, Coin, InstantRewards, make_config, make_prompts
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, let_time_run, open_rig


def misbehaving(text: str, answer: str, metadata: Mapping[str, object]) -> float:
    """A user's reward that judges no right answer: it raises on every one of them."""
    if text.strip() == answer:
        raise ValueError("no such unit")
    return 0.0


@pytest.mark.parametrize(
    "fault",
    [FailWith(status=500), FailWith(status=503), Drop(), Drop(after_acting=True), Mislabel(label="another/1")],
    ids=str,
)
async def test_a_lost_attempt_is_charged_in_full_and_made_again(rig: Rig, learner: Learner, fault: Fault) -> None:
    await rig.create_run(make_config(max_steps=3))
    rig.fakes[0].faults.order("/generate", fault, count=5)
    await learner.attach()
    await learner.train()
    view = await rig.ended()
    lost = sum(view.ledger.stages[stage].outcomes[Outcome.LOST] for stage in (Stage.PILOT, Stage.COMMIT))
    assert lost >= 1
    assert rig.fakes[0].faults.take("/generate") is None
    came_back = sum(len(done.token_ids) for group in learner.received.values() for done in group.rollouts)
    assert view.ledger.spent_tokens >= came_back + 10 * lost
    assert view.record.step == 3


async def test_a_server_that_dies_and_comes_back_gets_the_current_weights_before_its_next_attempt(
    redis: Redis, tmp_path: Path
) -> None:
    async with open_rig(redis, tmp_path, num_servers=2) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        await rig.create_run(make_config(max_steps=8))
        await learner.attach()
        await learner.train(steps=2)
        rig.fakes[1].die()
        await rig.until(lambda: rig.fleet.view()[1].state is ServerState.DEAD)
        await learner.train(steps=2)
        rig.fakes[1].restart()
        await rig.until(lambda: rig.fakes[1].weight_version == f"run/{learner.version}")
        await learner.train()
        assert (await rig.ended()).record.step == 8
        assert not learner.refused


async def test_a_server_that_hangs_holds_nothing_up_but_itself(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, num_servers=2) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        await rig.create_run(make_config(max_steps=4, attempt_timeout_s=0.1))
        await learner.attach()
        await rig.ready()
        # Somebody else pauses it: it takes requests and answers none.
        await rig.fakes[0].pause("retract")
        await learner.train(steps=3)
        await rig.ready()
        assert rig.fakes[0].ready, "it was told to continue"
        await learner.train()
        view = await rig.ended()
        assert view.record.step == 4
        assert view.prompts[PromptState.QUARANTINED] == 0, "no prompt is to blame"


async def test_the_only_server_being_paused_delays_the_run_and_blames_no_prompt(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config(max_steps=3, attempt_timeout_s=0.05))
    await learner.attach()
    for _ in range(3):
        await rig.fakes[0].pause("retract")
        # Found out by the attempts that it does not answer; where nothing is asked of it, by the next push.
        await learner.train(steps=1)
        await rig.until(lambda: rig.fakes[0].ready)
    await learner.train()
    view = await rig.ended()
    assert view.record.step == 3
    assert view.prompts[PromptState.QUARANTINED] == 0


@pytest.mark.parametrize("num_servers", [1, 2])
async def test_a_server_that_answers_every_attempt_with_an_error_does_not_eat_the_budget(
    redis: Redis, tmp_path: Path, num_servers: int
) -> None:
    async with open_rig(redis, tmp_path, num_servers=num_servers, capacity=16) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        rig.fakes[0].faults.order("/generate", FailWith(status=500), count=100)
        await rig.create_run(make_config(max_steps=4))
        await learner.attach()
        await learner.train()
        view = await rig.ended()
        lost = sum(view.ledger.stages[stage].outcomes[Outcome.LOST] for stage in (Stage.PILOT, Stage.COMMIT))
        # What was in flight when the errors began; after that it has to prove itself, which costs nothing.
        assert 0 < lost <= 32
        assert view.prompts[PromptState.QUARANTINED] == 0


class Killer:
    """A server's scheduler that dies of one prompt."""

    def __init__(self, poison: int) -> None:
        self._poison = poison
        self._coin = Coin()
        self.fake: FakeServer | None = None

    def answer(self, ask: Ask) -> Answer:
        if ask.input_ids[-1] == self._poison and self.fake is not None:
            self.fake.die()
        return self._coin.answer(ask)

    def score(self, input_ids: object, weights: str) -> tuple[float, ...]:
        return ()


async def test_only_the_prompt_that_kills_servers_is_set_aside(redis: Redis, tmp_path: Path) -> None:
    killer = Killer(poison=99)
    async with open_rig(redis, tmp_path, policy=killer, rates=[50] * 12 + [99]) as rig:
        killer.fake = rig.fakes[0]
        learner = Learner(at=lambda: rig.service, folder=tmp_path)

        async def supervise() -> None:
            """Restart the server whenever it has died and the scheduler has noticed."""
            while True:
                if rig.fakes[0].dead and rig.fleet.view()[0].state is ServerState.DEAD:
                    rig.fakes[0].restart()
                await asyncio.sleep(0.001)

        # Time that passes: all attempts are on the server when it dies, and most are not to blame.
        rig.fakes[0].hold()
        loops = [asyncio.create_task(supervise()), asyncio.create_task(let_time_run(rig.fakes, 1))]
        await rig.create_run(make_config(budget=Budget(rollouts=4000)))
        await learner.attach()
        training = asyncio.create_task(learner.train())

        async def is_set_aside() -> bool:
            return (await rig.service.views.prompt("run", "q12")).state is PromptState.QUARANTINED

        await rig.until(is_set_aside)
        await rig.service.orders.cancel("run")
        await training
        view = await rig.ended()
        for loop in loops:
            loop.cancel()
        assert view.prompts[PromptState.QUARANTINED] == 1
        history = (await rig.service.views.prompt("run", "q12")).history
        before = [event.what for event in history[1:]]
        assert history[0].what == "quarantined"
        # Three visits at least; one whose server was up again when its loss was judged, or that outlasted its weights
        # because the server kept dying, counts for nothing.
        assert before.count("incomplete") >= 2
        assert set(before) <= {"incomplete", "expired"}
        assert "lost 3 times running" in history[0].reason


async def test_a_reward_that_raises_makes_an_attempt_failed_and_not_wrong(redis: Redis, tmp_path: Path) -> None:
    rewards = RewardPool(1)
    async with open_rig(redis, tmp_path, rewards=rewards) as rig:
        await rig.create_pool("odd", make_prompts([60] * 10), reward=f"python:{__name__}:misbehaving")
        await rig.create_run(make_config(pool="odd", budget=Budget(rollouts=120)))
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        await learner.attach()
        await learner.train()
        view = await rig.ended()
        pilots = view.ledger.stages[Stage.PILOT]
        assert pilots.outcomes[Outcome.FAILED] > 0
        assert view.counters["pilots:judged"] == pilots.attempts - pilots.outcomes[Outcome.FAILED]
        assert view.counters.get("pilots:correct", 0) == 0
        history = (await rig.service.views.prompt("run", "q0")).history
        assert any("rollouts have a reward" in event.reason for event in history)
    await rewards.close()


async def test_an_update_in_the_middle_of_a_generation_leaves_two_versions_in_its_tokens(
    redis: Redis, tmp_path: Path
) -> None:
    async with open_rig(redis, tmp_path, policy=Coin(longest=10)) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path, max_staleness=2)
        await rig.create_run(make_config(max_staleness=2, max_steps=2))
        rig.fakes[0].hold()
        await learner.attach()
        await rig.until(lambda: len(rig.fakes[0].in_flight) >= 8)
        await rig.fakes[0].step(2)
        rig.fakes[0].faults.order("/weights_checker", Hang())
        await learner.publish("again")
        await rig.until(lambda: rig.fakes[0].decoder.label == "run/2")
        rig.fakes[0].faults.release()
        await rig.ready()
        rig.fakes[0].release()
        await learner.train()
        await rig.ended()
        spans = {
            tuple(span.version for span in done.spans) for group in learner.received.values() for done in group.rollouts
        }
        assert (1, 2) in spans


async def test_attempts_made_at_once_share_one_prefill_of_a_long_prompt(rig: Rig, learner: Learner) -> None:
    length, at_once, visits = 40, 16, 4
    prompts = [
        replace(prompt, input_ids=(index, *range(1, length - 1), SOMETIMES))
        for index, prompt in enumerate(make_prompts([SOMETIMES] * visits), start=100)
    ]
    await rig.create_pool("long", prompts)
    config = make_config(pool="long", allocator="grpo", pilots=8, commits=8, max_steps=1)
    await rig.create_run(config)
    fake = rig.fakes[0]
    fake.hold()
    await learner.attach()
    await rig.until(lambda: len(fake.decoder.waiting) == visits)
    await fake.step()
    await rig.until(lambda: len(fake.decoder.waiting) == visits * at_once)
    fake.release()
    await learner.train()
    await rig.ended()
    # Beyond the prompt, one token of each attempt: its logits are what the first one generated is sampled from.
    assert fake.decoder.prefilled_tokens == visits * (length + at_once)


@pytest.mark.parametrize(
    ("attempt", "suspect", "most"),
    [(0, False, 5), (1, True, 5), (2, False, 5), (2, True, 1)],
    ids=["first try", "second try", "last try", "last try of a suspect"],
)
async def test_the_last_try_of_a_suspect_is_made_while_no_other_suspect_makes_one(
    attempt: int, suspect: bool, most: int
) -> None:
    sender = Sender(
        share=Fleet(()).share_for("run"),
        judge=Judge(rewards=InstantRewards(), reward=parse_spec("exact"), config=make_config(), run_id="run"),
        config=make_config(),
        run_id="run",
        fence=1,
        flights=Flights(make_config()),
        retry_s=0.0,
    )
    at_once: list[int] = []
    under_way = 0

    async def attempt_once() -> None:
        nonlocal under_way
        async with sender.turn(attempt, tries=3, suspect=suspect):
            under_way += 1
            for _ in range(5):
                at_once.append(under_way)
                await asyncio.sleep(0)
            under_way -= 1

    await asyncio.gather(*(attempt_once() for _ in range(5)))
    assert max(at_once) == most
