"""Intervals of accuracy and gain."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.errors import InvalidInput
from scheduler.demo.statistics import Tally, accuracy, gain

Rates = np.ndarray[tuple[int], np.dtype[np.float64]]
NUM_TRIALS = 500


def _tallies(*successes: int, rollouts: int = 4) -> dict[str, Tally]:
    return {str(index): Tally(successes=value, rollouts=rollouts) for index, value in enumerate(successes)}


def _sample(rng: np.random.Generator, rates: Rates, rollouts: int) -> dict[str, Tally]:
    return _tallies(*rng.binomial(rollouts, rates).tolist(), rollouts=rollouts)


tallies = st.integers(min_value=1, max_value=8).flatmap(
    lambda n: st.builds(Tally, successes=st.integers(min_value=0, max_value=n), rollouts=st.just(n))
)


@settings(deadline=None)
@given(st.lists(tallies, min_size=1, max_size=40))
def test_an_accuracy_lies_within_its_interval_within_zero_and_one(counts: list[Tally]) -> None:
    result = accuracy(dict(enumerate_ids(counts)))
    assert 0 <= result.low <= result.estimate <= result.high <= 1
    assert result.low < result.high


@settings(deadline=None)
@given(st.lists(st.tuples(tallies, tallies), min_size=1, max_size=40))
def test_a_gain_turns_its_sign_when_before_and_after_change_places(pairs: list[tuple[Tally, Tally]]) -> None:
    before = dict(enumerate_ids([first for first, _ in pairs]))
    after = dict(enumerate_ids([second for _, second in pairs]))
    there, back = gain(before, after), gain(after, before)
    assert -1 <= there.low <= there.estimate <= there.high <= 1
    assert there.low < there.high
    assert (there.estimate, there.low, there.high) == pytest.approx((-back.estimate, -back.high, -back.low))


def enumerate_ids(counts: list[Tally]) -> list[tuple[str, Tally]]:
    """Prompt ids for tallies."""
    return [(str(index), tally) for index, tally in enumerate(counts)]


def test_a_gain_is_the_mean_of_the_differences_with_students_margin() -> None:
    result = gain(_tallies(0, 1, 2, 0, 1), _tallies(2, 4, 2, 1, 4))
    # Differences .5 .75 0 .25 .75: mean .45, s = .3260, t(4) = 2.776, margin = 2.776 * .3260 / sqrt(5) = .4047.
    assert (result.estimate, result.low, result.high) == pytest.approx((0.45, 0.0453, 0.8547), abs=2e-3)
    assert (result.num_prompts, result.num_rollouts) == (5, 40)


def test_rollouts_of_one_prompt_are_not_independent() -> None:
    agreeing = accuracy(_tallies(*[0, 100] * 20, rollouts=100))
    mixed = accuracy(_tallies(*[50] * 39, 49, rollouts=100))
    assert agreeing.high - agreeing.low > 5 * (mixed.high - mixed.low)
    assert agreeing.high - agreeing.low == pytest.approx(2 * 2.02 * 0.5 / np.sqrt(40), rel=0.1)


@pytest.mark.parametrize("successes", [0, 4])
def test_unanimous_prompts_do_not_make_an_interval_of_no_width(successes: int) -> None:
    result = accuracy(_tallies(*[successes] * 30))
    assert result.high - result.low == pytest.approx(0.12, abs=0.01)
    still = gain(_tallies(*[successes] * 30), _tallies(*[successes] * 30))
    assert still.low < still.estimate == 0 < still.high


def test_prompts_that_were_not_judged_are_left_out() -> None:
    empty = {"failed": Tally(successes=0, rollouts=0)}
    result = accuracy(_tallies(4, 2) | empty)
    assert (result.estimate, result.num_prompts, result.num_rollouts) == (0.75, 2, 8)
    both = gain(_tallies(4, 2) | empty, _tallies(4, 4) | empty)
    assert (both.estimate, both.num_prompts, both.num_rollouts) == (0.25, 2, 16)


def test_what_cannot_be_estimated_is_refused() -> None:
    empty = {"a": Tally(successes=0, rollouts=0)}
    with pytest.raises(InvalidInput, match="no held-out prompt"):
        accuracy({})
    with pytest.raises(InvalidInput, match="no held-out prompt"):
        gain(empty, empty)
    with pytest.raises(InvalidInput, match="same held-out prompts"):
        gain(_tallies(1, 2), _tallies(1))
    with pytest.raises(InvalidInput, match="cannot be"):
        Tally(successes=5, rollouts=4)


@pytest.mark.parametrize("num_prompts", [12, 64])
def test_an_accuracys_interval_covers_the_truth_19_times_in_20(num_prompts: int) -> None:
    rng = np.random.default_rng(1)
    truth = 0.4 / 0.9
    covered = 0
    for _ in range(NUM_TRIALS):
        result = accuracy(_sample(rng, rng.beta(0.4, 0.5, num_prompts), 4))
        covered += result.low <= truth <= result.high
    assert 0.92 <= covered / NUM_TRIALS <= 0.98


def test_an_accuracys_interval_covers_the_truth_near_zero() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(NUM_TRIALS):
        result = accuracy(_sample(rng, rng.beta(0.1, 3.23, 64), 4))
        covered += result.low <= 0.03 <= result.high
    assert covered / NUM_TRIALS >= 0.90


@pytest.mark.parametrize("num_prompts", [6, 64])
def test_a_gains_interval_covers_the_truth_19_times_in_20(num_prompts: int) -> None:
    rng = np.random.default_rng(3)
    truth = 0.5 * (1 - 0.4 / 0.9)
    covered = 0
    for _ in range(NUM_TRIALS):
        before = rng.beta(0.4, 0.5, num_prompts)
        after = before + 0.5 * (1 - before)
        result = gain(_sample(rng, before, 4), _sample(rng, after, 4))
        covered += result.low <= truth <= result.high
    assert 0.92 <= covered / NUM_TRIALS <= 0.98
