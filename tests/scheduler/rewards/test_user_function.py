"""Rewards written by users: loading them and reading what they answer."""

import numpy as np
import pytest

from scheduler.core.errors import InvalidInput, RewardFailed
from scheduler.core.types import Judgement
from scheduler.rewards.user_function import load, read_answer
from tests.scheduler.rewards import sample_rewards

SAMPLES = "tests.scheduler.rewards.sample_rewards"


def test_a_function_is_found_by_its_name() -> None:
    assert load(f"{SAMPLES}:same") is sample_rewards.same


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "has no 'absent'"),
        ("not_a_function", "is a int, not a function"),
        ("asynchronous", "is async"),
        ("without_metadata", r"must accept \(text, answer, metadata\)"),
    ],
)
def test_what_is_not_a_reward_is_refused(name: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        load(f"{SAMPLES}:{name}")


@pytest.mark.parametrize(
    ("answer", "reward", "correct"),
    [
        (True, 1.0, True),
        (False, 0.0, False),
        (0.25, 0.25, True),
        (0, 0.0, False),
        (-1.5, -1.5, False),
        ((0.25, False), 0.25, False),
        ([-1, True], -1.0, True),
        (np.float32(0.5), 0.5, True),
        (np.bool_(True), 1.0, True),
        ((np.int64(2), np.bool_(False)), 2.0, False),
    ],
)
def test_a_bool_a_number_or_a_pair_is_a_judgement(answer: object, reward: float, correct: bool) -> None:
    assert read_answer(answer) == Judgement(reward=reward, correct=correct)


@pytest.mark.parametrize(
    "answer",
    [None, "1.0", float("nan"), float("inf"), 10**400, (1.0,), (1.0, True, 3), (True, 0.5), (None, True), 1j, {}],
)
def test_nonsense_is_a_failure_and_never_zero(answer: object) -> None:
    with pytest.raises(RewardFailed, match="the reward answered"):
        read_answer(answer)
