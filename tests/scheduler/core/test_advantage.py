"""Advantages of a group."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.advantage import AdvantageKind, counted_advantages, group_advantages
from scheduler.core.errors import InvalidInput

kinds = st.sampled_from(AdvantageKind)
rewards = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=64)


def test_grpo_divides_by_the_population_std() -> None:
    assert group_advantages([1.0, 0.0, 0.0, 0.0], AdvantageKind.GRPO) == pytest.approx(
        [math.sqrt(3), *[-1 / math.sqrt(3)] * 3]
    )


def test_dr_grpo_only_centres() -> None:
    assert group_advantages([1.0, 0.0, 0.0, 0.0], AdvantageKind.DR_GRPO) == pytest.approx([0.75, -0.25, -0.25, -0.25])


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=16))
def test_rloo_leaves_the_rollout_itself_out_of_its_baseline(values: list[float]) -> None:
    others = [(sum(values) - value) / (len(values) - 1) for value in values]
    expected = [value - baseline for value, baseline in zip(values, others, strict=True)]
    assert group_advantages(values, AdvantageKind.RLOO) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("kind", AdvantageKind)
def test_what_does_not_count_has_no_advantage_and_moves_nobody_elses(kind: AdvantageKind) -> None:
    counted = counted_advantages([1.0, 7.0, 0.0, 0.0], [True, False, True, True], kind)
    assert counted.tolist() == [
        *group_advantages([1.0, 0.0, 0.0], kind)[:1],
        0.0,
        *group_advantages([1.0, 0.0, 0.0], kind)[1:],
    ]


@pytest.mark.parametrize("kind", AdvantageKind)
def test_a_group_in_which_nothing_counts_teaches_nothing(kind: AdvantageKind) -> None:
    assert counted_advantages([1.0, 0.0], [False, False], kind).tolist() == [0.0, 0.0]


@given(st.floats(-1e6, 1e6), st.integers(1, 64), kinds)
def test_a_group_without_variance_gives_exact_zeros(reward: float, size: int, kind: AdvantageKind) -> None:
    assert group_advantages([reward] * size, kind).tolist() == [0.0] * size


@pytest.mark.parametrize("kind", AdvantageKind)
def test_rewards_that_differ_by_rounding_alone_do_not_vary(kind: AdvantageKind) -> None:
    assert not group_advantages([0.1 + 0.2, 0.3, 0.3], kind).any()


@pytest.mark.parametrize("kind", AdvantageKind)
def test_rewards_whose_variance_underflows_do_not_vary(kind: AdvantageKind) -> None:
    assert not group_advantages([0.0, 6.3e-263], kind).any()


@given(rewards, kinds)
def test_advantages_of_a_group_sum_to_zero_and_keep_its_order(values: list[float], kind: AdvantageKind) -> None:
    advantages = group_advantages(values, kind)
    scale = max(1.0, float(np.abs(advantages).max()))
    assert advantages.shape == (len(values),)
    assert abs(advantages.sum()) <= 1e-6 * scale * len(values)
    assert (np.diff(advantages[np.argsort(values)]) >= 0).all()


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=16), st.floats(0.5, 10), st.floats(-10, 10))
def test_grpo_does_not_depend_on_the_rewards_scale_or_origin(values: list[float], scale: float, shift: float) -> None:
    if np.ptp(values) < 1e-3:
        values = [*values, 11.0]
    moved = [scale * value + shift for value in values]
    assert group_advantages(moved, AdvantageKind.GRPO) == pytest.approx(
        group_advantages(values, AdvantageKind.GRPO), abs=1e-6
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", AdvantageKind)
def test_a_reward_that_is_not_finite_is_refused(bad: float, kind: AdvantageKind) -> None:
    with pytest.raises(InvalidInput, match="finite"):
        group_advantages([1.0, bad], kind)


@pytest.mark.parametrize("shape", [(0,), (2, 2)])
def test_only_a_list_of_rewards_is_a_group(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="non-empty list"):
        group_advantages(np.ones(shape), AdvantageKind.GRPO)
