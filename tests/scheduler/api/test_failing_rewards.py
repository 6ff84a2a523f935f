"""A reward that raises or hangs costs its rollouts, never the run, and is never taken for a wrong answer."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import httpx
import pytest_asyncio
from redis.asyncio import Redis

from scheduler.api.app import create_app
from scheduler.core.budget import Budget
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import RunState
from scheduler.core.types import Prompt, Stage
from scheduler.rewards.pool import RewardPool
from tests.scheduler.api.bodies import Json
from tests.scheduler.engine.factories import SOMETIMES, make_config, make_prompts
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, open_rig

REWARD = "python:tests.scheduler.api.sample_rewards:judge"
NUM_GOOD, PILOTS = 4, 4


@pytest_asyncio.fixture
async def rig(redis: Redis, tmp_path: Path) -> AsyncIterator[Rig]:
    """A scheduler whose rewards are judged in real worker processes."""
    rewards = RewardPool(2)
    await rewards.start()
    async with open_rig(redis, tmp_path, rewards=rewards) as opened:
        yield opened
    await rewards.close()


def _prompts(marker: Path) -> list[Prompt]:
    good = make_prompts((SOMETIMES,) * NUM_GOOD, prefix="good")
    raising, hanging = make_prompts((SOMETIMES,) * 2, prefix="odd")
    return [
        *good,
        replace(raising, prompt_id="raises", metadata={"does": "raise"}),
        replace(hanging, prompt_id="hangs", metadata={"does": "hang once", "marker": str(marker)}),
    ]


def _reasons(page: Json) -> list[str]:
    """Why a prompt's visits ended as they did."""
    events = cast(list[dict[str, str]], page["history"])
    return [event["reason"] for event in events if event["what"] in ("incomplete", "quarantined")]


async def _ask(http: httpx.AsyncClient, path: str) -> Json:
    return cast(Json, (await http.get(f"/v1/runs/run{path}")).json())


async def test_a_reward_that_raises_or_hangs_fails_its_rollouts_and_the_run_goes_on(rig: Rig, tmp_path: Path) -> None:
    marker = tmp_path / "hung"
    await rig.create_pool("odd", _prompts(marker), reward=REWARD)
    await rig.create_run(make_config(pool="odd", pilots=PILOTS, batch_size=2, max_steps=6))
    learner = Learner(at=lambda: rig.service, folder=rig.folder)
    await learner.attach()
    await learner.train()
    view = await rig.ended()

    assert (view.record.state, view.record.step, len(learner.lineage)) == (RunState.FINISHED, 6, 12)
    transport = httpx.ASGITransport(create_app(rig.service))
    async with httpx.AsyncClient(transport=transport, base_url="http://scheduler") as http:
        ledger, raising, hanging = [await _ask(http, path) for path in ("/ledger", "/prompts/raises", "/prompts/hangs")]

    # The one that hung was killed at its time limit, cost its own rollout only, and was made up for by another.
    assert marker.exists()
    assert (_reasons(hanging), hanging["num_pilots"]) == ([], PILOTS * cast(int, hanging["visits"]))
    # Without a reward there is nothing to learn of a prompt: a zero would have made it look too hard.
    assert set(_reasons(raising)) == {"0 of 4 rollouts have a reward; reward failed: KeyError: 'no such unit'"}
    assert (raising["num_pilots"], raising["last_verdict"]) == (0, None)
    assert cast(float, raising["success_rate"]) > 0.25, "it is believed to be like the others of its pool"
    assert "raises" not in {group.prompt_id for group in learner.received.values()}
    assert ledger["balanced"]
    pilots = cast(dict[str, dict[str, dict[str, int]]], ledger["stages"])["pilot"]
    assert pilots["outcomes"]["failed"] == PILOTS * cast(int, raising["visits"]) + 1


async def test_a_pool_whose_reward_always_raises_is_quarantined_long_before_its_budget_is_spent(rig: Rig) -> None:
    prompts = [replace(prompt, metadata={"does": "raise"}) for prompt in make_prompts((SOMETIMES,) * 3)]
    await rig.create_pool("odd", prompts, reward=REWARD)
    await rig.create_run(make_config(pool="odd", pilots=PILOTS, batch_size=2, budget=Budget(rollouts=600)))
    learner = Learner(at=lambda: rig.service, folder=rig.folder)
    await learner.attach()
    await learner.train()
    view = await rig.ended()
    assert (view.record.state, view.record.reason) == (RunState.FINISHED, "no prompt is left to claim")
    assert learner.lineage == []
    pilots = view.ledger.stages[Stage.PILOT]
    assert pilots.outcomes[Outcome.FAILED] == pilots.attempts == 3 * PILOTS * len(prompts)


async def test_a_reward_that_tries_to_get_out_fails_its_rollouts_and_the_run_goes_on(rig: Rig, tmp_path: Path) -> None:
    attempts = ("open_a_socket", "fork", "allocate", "write_a_big_file", "kill_the_scheduler", "read_the_environment")
    metadata = {"port": "9", "folder": str(tmp_path)}
    escaping = [
        replace(prompt, prompt_id=does, metadata={"does": does, **metadata})
        for prompt, does in zip(make_prompts((SOMETIMES,) * len(attempts)), attempts, strict=True)
    ]
    good = make_prompts((SOMETIMES,) * NUM_GOOD, prefix="good")
    await rig.create_pool("odd", [*good, *escaping], reward=REWARD)
    await rig.create_run(make_config(pool="odd", pilots=PILOTS, batch_size=2, max_steps=4))
    learner = Learner(at=lambda: rig.service, folder=rig.folder)
    await learner.attach()
    await learner.train()
    view = await rig.ended()
    assert (view.record.state, view.record.step) == (RunState.FINISHED, 4)
    trained = {group.prompt_id for group in learner.received.values()}
    assert trained <= {prompt.prompt_id for prompt in good}
    transport = httpx.ASGITransport(create_app(rig.service))
    async with httpx.AsyncClient(transport=transport, base_url="http://scheduler") as http:
        tried = [await _ask(http, f"/prompts/{does}") for does in attempts]
    reasons = [_reasons(page) for page in tried if page["visits"]]
    assert reasons, "none was ever tried"
    assert all("0 of 4 rollouts have a reward" in reason for visits in reasons for reason in visits)
