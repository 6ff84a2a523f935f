"""Overlong completions, on the numbers of DAPO's formula."""

from dataclasses import replace

import pytest

from scheduler.core.overlong import OverlongPolicy, default_cache, handled, length_penalty
from scheduler.core.types import FinishReason
from tests.factories import make_rollout


@pytest.mark.parametrize(
    ("tokens", "penalty"),
    [
        (1, 0.0),
        (16_384, 0.0),
        (16_385, -1 / 4096),
        (17_408, -0.25),
        (18_432, -0.5),
        (20_479, -4095 / 4096),
        (20_480, -1.0),
        (20_481, -1.0),
        (50_000, -1.0),
    ],
)
def test_the_penalty_is_the_papers_with_its_own_lengths(tokens: int, penalty: float) -> None:
    assert length_penalty(tokens, 20_480, 4096) == pytest.approx(penalty, abs=1e-12)


def test_the_default_cache_is_the_papers_share() -> None:
    assert default_cache(20_480) == 4096
    assert default_cache(3) == 1


def test_a_cache_as_long_as_the_limit_penalises_every_token() -> None:
    assert [length_penalty(tokens, 4, 4) for tokens in range(6)] == [0.0, -0.25, -0.5, -0.75, -1.0, -1.0]


def test_a_penalty_lowers_the_reward_and_leaves_the_answer_right() -> None:
    rollout = make_rollout(reward=1.0, token_ids=tuple(range(9)))
    after = handled(rollout, OverlongPolicy.PENALISE, max_new_tokens=10, cache=4)
    assert after == replace(rollout, reward=0.25)
    assert after.correct


def test_only_what_was_cut_off_is_masked() -> None:
    ended = make_rollout(token_ids=tuple(range(10)))
    cut_off = replace(ended, finish_reason=FinishReason.LENGTH)
    assert handled(ended, OverlongPolicy.MASK, max_new_tokens=10, cache=2) == ended
    assert handled(cut_off, OverlongPolicy.MASK, max_new_tokens=10, cache=2) == replace(cut_off, masked=True)


def test_kept_rollouts_are_left_alone() -> None:
    rollout = replace(make_rollout(), finish_reason=FinishReason.LENGTH)
    assert handled(rollout, OverlongPolicy.KEEP, max_new_tokens=2, cache=1) is rollout
