"""What an order needs to be sound: the rewards of a run's pools."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from scheduler.core.errors import InvalidInput
from scheduler.core.mixture import PoolShare
from scheduler.core.run import EvaluationPlan
from scheduler.rewards.spec import RewardSpec
from tests.scheduler.engine.factories import SOMETIMES, InstantRewards, make_config, make_prompts
from tests.scheduler.engine.rig import Rig, open_rig

FAR, FARTHER, BROKEN = "https://judge.example/far", "https://judge.example/farther", "https://judge.example/broken"
CONFIG = replace(
    make_config(),
    pool="",
    pools=tuple(PoolShare(name=name) for name in ("one", "two", "three")),
    evaluation=EvaluationPlan(pool="held-out"),
)


class Meeting(InstantRewards):
    """Two checks of rewards end when both are under way, and none before."""

    def __init__(self) -> None:
        super().__init__()
        self.checked: list[str] = []
        self._both = asyncio.Event()

    async def check(self, spec: RewardSpec) -> None:
        self.checked.append(spec.name)
        if len(self.checked) == 2:
            self._both.set()
        async with asyncio.timeout(10):
            await self._both.wait()
        if spec.name == BROKEN:
            raise InvalidInput("it is broken", field="reward")


@pytest.fixture
def rewards() -> Meeting:
    return Meeting()


@pytest_asyncio.fixture
async def rig(redis: Redis, tmp_path: Path, rewards: Meeting) -> AsyncIterator[Rig]:
    async with open_rig(redis, tmp_path, rewards=rewards) as opened:
        yield opened


async def test_the_rewards_of_a_run_are_checked_all_at_once_and_each_of_them_once(rig: Rig, rewards: Meeting) -> None:
    for name, reward in (("one", FAR), ("two", FARTHER), ("three", "exact"), ("held-out", FAR)):
        await rig.create_pool(name, make_prompts([SOMETIMES] * 2), reward=reward)
    found = await rig.service.orders.rehearse(CONFIG)
    assert sorted(rewards.checked) == [FAR, FARTHER]
    assert (found.num_prompts, found.num_held_out) == ({"one": 2, "two": 2, "three": 2}, 2)


async def test_a_reward_that_does_not_work_is_named_by_its_pool(rig: Rig) -> None:
    for name, reward in (("one", FAR), ("two", BROKEN), ("three", "exact"), ("held-out", FAR)):
        await rig.create_pool(name, make_prompts([SOMETIMES] * 2), reward=reward)
    with pytest.raises(InvalidInput, match="it is broken") as refused:
        await rig.service.orders.rehearse(CONFIG)
    assert refused.value.field == "pools.1.name"
