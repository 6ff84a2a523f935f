"""Pools of a given shape."""

import random

import pytest

from benchmarks.target.shape import FLAT, U_SHAPED, choose, degenerate_rate
from scheduler.core.errors import InvalidInput

RATES = [place / 999 for place in range(1000)]
FAMILIES = ["a", "b"] * 500


def test_quantiles_of_the_flat_shape_are_evenly_spaced() -> None:
    assert FLAT.quantiles(4) == pytest.approx([0.125, 0.375, 0.625, 0.875], abs=0.002)


def test_about_half_of_all_pilots_agree_in_the_u_shape() -> None:
    assert degenerate_rate(U_SHAPED.quantiles(1000), 16) == pytest.approx(0.51, abs=0.01)


def test_what_is_chosen_follows_the_shape() -> None:
    chosen = choose(RATES, FAMILIES, FLAT, 100, seed=0)
    assert [RATES[place] for place in chosen] == pytest.approx(FLAT.quantiles(100), abs=0.02)


def test_no_candidate_is_chosen_twice_however_scarce_its_rate_is() -> None:
    rng = random.Random(0)
    scarce = [rng.random() for _ in range(60)]
    chosen = choose(scarce, ["a"] * 60, U_SHAPED, 60, seed=0)
    assert sorted(chosen) == list(range(60))


def test_families_have_equal_shares_where_their_rates_allow() -> None:
    chosen = choose(RATES, FAMILIES, FLAT, 100, seed=0)
    assert [FAMILIES[place] for place in chosen].count("a") == pytest.approx(50, abs=5)


def test_more_prompts_than_candidates_are_refused() -> None:
    with pytest.raises(InvalidInput):
        choose(RATES, FAMILIES, FLAT, 1001, seed=0)


def test_certain_prompts_make_degenerate_groups() -> None:
    assert degenerate_rate([0.0, 1.0], 16) == 1.0
    assert degenerate_rate([0.5], 2) == 0.5
