"""The prior of a pool."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.errors import InvalidInput
from scheduler.core.prior import Prior, fit_counted_prior, fit_prior


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int]:
    total = draw(st.integers(0, 64))
    return draw(st.integers(0, total)), total


def sample_counts(a: float, b: float, prompts: int, pilots: int) -> list[tuple[int, int]]:
    rng = np.random.default_rng(7)
    successes = rng.binomial(pilots, rng.beta(a, b, prompts))
    return [(int(s), pilots) for s in successes]


@pytest.mark.parametrize("nothing", [[], [(0, 0)], [(0, 0)] * 100])
def test_without_counts_the_prior_knows_nothing(nothing: list[tuple[int, int]]) -> None:
    assert fit_prior(nothing) == Prior(a0=1.0, b0=1.0)


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (0.4, 0.5), (0.2, 0.3), (0.3, 1.0), (1.0, 0.3), (5.0, 2.0)])
def test_the_fit_recovers_how_a_large_pool_is_spread(a: float, b: float) -> None:
    fitted = fit_prior(sample_counts(a, b, prompts=4000, pilots=16))
    assert fitted.a0 == pytest.approx(a, rel=0.12)
    assert fitted.b0 == pytest.approx(b, rel=0.12)


@given(st.lists(counts(), max_size=20))
def test_counted_prompts_are_fitted_as_listed_ones_are(pool: list[tuple[int, int]]) -> None:
    assert fit_counted_prior(dict.fromkeys(pool, 3)) == fit_prior([pair for pair in set(pool) for _ in range(3)])


@given(st.lists(counts(), max_size=40))
def test_the_fit_is_proper_and_within_bounds_for_any_counts(pool: list[tuple[int, int]]) -> None:
    fitted = fit_prior(pool)
    assert 0.05 <= fitted.a0 <= 100
    assert 0.05 <= fitted.b0 <= 100


@given(st.lists(counts(), max_size=20))
def test_the_order_of_prompts_does_not_matter(pool: list[tuple[int, int]]) -> None:
    assert fit_prior(sorted(pool)) == fit_prior(pool)


@given(st.lists(counts(), max_size=20))
def test_swapping_right_and_wrong_mirrors_the_prior(pool: list[tuple[int, int]]) -> None:
    fitted = fit_prior(pool)
    mirrored = fit_prior([(total - successes, total) for successes, total in pool])
    assert fitted.a0 / (fitted.a0 + fitted.b0) == pytest.approx(mirrored.b0 / (mirrored.a0 + mirrored.b0), abs=1e-3)


def test_one_prompt_moves_the_prior_only_a_little() -> None:
    fitted = fit_prior([(8, 8)])
    assert 0.5 < fitted.a0 / (fitted.a0 + fitted.b0) < 0.85
    assert fitted.a0 + fitted.b0 < 3


@pytest.mark.parametrize("degenerate", [[(0, 8)] * 2000, [(8, 8)] * 2000])
def test_a_pool_that_looks_hopeless_or_solved_is_not_written_off(degenerate: list[tuple[int, int]]) -> None:
    fitted = fit_prior(degenerate)
    opposite = 1.0 if degenerate[0][0] == 0 else 0.0
    one_surprise = (fitted.a0 + opposite) / (fitted.a0 + fitted.b0 + 1)
    assert abs(one_surprise - opposite) < 0.2


@pytest.mark.parametrize("bad", [(-1, 4), (5, 4)])
def test_impossible_counts_are_refused(bad: tuple[int, int]) -> None:
    with pytest.raises(InvalidInput, match="successes out of"):
        fit_prior([(1, 2), bad])


@pytest.mark.parametrize(("a0", "b0"), [(0.0, 1.0), (1.0, -1.0), (math.nan, 1.0), (1.0, math.inf)])
def test_an_improper_prior_cannot_be_built(a0: float, b0: float) -> None:
    with pytest.raises(InvalidInput, match="a0 > 0"):
        Prior(a0=a0, b0=b0)


def test_a_prior_is_as_strong_as_it_has_rollouts() -> None:
    prior = Prior(a0=1.0, b0=3.0)
    assert (prior.mean, prior.strength) == (0.25, 4.0)
