"""A pool is only there if its prompts can be tokenised, sampled and judged."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from scheduler.core.errors import Conflict, InvalidInput, NotFound
from scheduler.intake import Intake
from scheduler.rewards.pool import RewardPool
from scheduler.state.pools import PoolStore
from scheduler.tokenizers import Tokenizers
from tests.tiny_model import CONTEXT_LENGTH


@pytest_asyncio.fixture
async def intake(redis: Redis) -> AsyncIterator[Intake]:
    rewards = RewardPool(1)
    yield Intake(PoolStore(redis), rewards, Tokenizers())
    await rewards.close()


async def _bytes(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_a_pool_takes_its_limits_from_the_model_of_its_tokenizer(intake: Intake, model_folder: Path) -> None:
    pool = await intake.create_pool("sums", tokenizer=str(model_folder), reward="exact")
    assert (pool.context_length, pool.max_prompt_tokens) == (CONTEXT_LENGTH, CONTEXT_LENGTH - 1)
    shorter = await intake.create_pool("short", tokenizer=str(model_folder), reward="exact", max_prompt_tokens=8)
    assert shorter.max_prompt_tokens == 8


async def test_creating_the_same_pool_again_returns_the_one_that_is_there(intake: Intake, model_folder: Path) -> None:
    first = await intake.create_pool("sums", tokenizer=str(model_folder), reward="exact")
    assert await intake.create_pool("sums", tokenizer=str(model_folder), reward="exact") == first
    with pytest.raises(Conflict):
        await intake.create_pool("sums", tokenizer=str(model_folder), reward="numeric")


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("tokenizer", {"tokenizer": "/no/such/model"}),
        ("reward", {"reward": "luck"}),
        ("reward", {"reward": "python:tests.scheduler.rewards.sample_rewards:nowhere"}),
        ("reward.pattern", {"reward": "regex:("}),
        ("max_prompt_tokens", {"max_prompt_tokens": CONTEXT_LENGTH}),
        ("max_prompt_tokens", {"max_prompt_tokens": 0}),
    ],
)
async def test_a_pool_that_could_not_work_is_refused_and_not_there(
    intake: Intake, redis: Redis, model_folder: Path, field: str, changes: dict[str, object]
) -> None:
    wanted = {"tokenizer": str(model_folder), "reward": "exact", "max_prompt_tokens": None, **changes}
    with pytest.raises(InvalidInput) as refusal:
        await intake.create_pool("sums", **wanted)  # type: ignore[arg-type]  # a table of mixed values
    assert refusal.value.field == field
    assert await PoolStore(redis).names() == []


async def test_prompts_are_judged_by_the_reward_of_their_pool(intake: Intake, redis: Redis, model_folder: Path) -> None:
    await intake.create_pool("sums", tokenizer=str(model_folder), reward="numeric", max_prompt_tokens=4)
    lines = (
        b'{"text": "1 +", "answer": "2"}\n{"text": "2 +", "ans',
        b'wer": "two"}\n{"text": "3 + 4 =", "answer": "7"}',
    )
    report = await intake.add_prompts("sums", _bytes(*lines))
    assert (report.added, [refused.line for refused in report.refused]) == (1, [2, 3])
    assert await PoolStore(redis).size("sums") == 1


async def test_a_preview_is_judged_as_the_prompts_would_be(intake: Intake, redis: Redis, model_folder: Path) -> None:
    await intake.create_pool("sums", tokenizer=str(model_folder), reward="numeric", max_prompt_tokens=4)
    lines = (
        b'{"text": "1 +", "answer": "2"}\n{"text": "2 +", "ans',
        b'wer": "two"}\n{"text": "3 + 4 =", "answer": "7"}',
    )
    report = await intake.preview_prompts("sums", _bytes(*lines))
    assert ([shown.seen for shown in report.prompts], [bad.line for bad in report.refused]) == (["1 +"], [2, 3])
    assert await PoolStore(redis).size("sums") == 0


async def test_prompts_need_a_pool(intake: Intake) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        await intake.add_prompts("nowhere", _bytes(b'{"text": "1"}'))
    with pytest.raises(NotFound, match="nowhere"):
        await intake.preview_prompts("nowhere", _bytes(b'{"text": "1"}'))


async def test_prompts_of_a_pool_whose_model_has_gone_are_refused_with_its_folder(
    intake: Intake, redis: Redis, model_folder: Path, tmp_path: Path
) -> None:
    link = tmp_path / "model"
    link.symlink_to(model_folder)
    await intake.create_pool("sums", tokenizer=str(link), reward="exact")
    link.unlink()
    # Another scheduler: this one has the tokenizer in memory.
    successor = Intake(PoolStore(redis), RewardPool(1), Tokenizers())
    with pytest.raises(InvalidInput, match=str(link)):
        await successor.add_prompts("sums", _bytes(b'{"text": "1"}'))
