"""What the wording of prompts says of their success rates."""

from dataclasses import replace

import numpy as np
import pytest

from scheduler.core.forecast import Seen, fit_forecast
from scheduler.core.ngrams import ngrams
from scheduler.core.prior import Prior, fit_prior

EASY, HARD = 11, 22
"""Tokens that tell."""


def see(rng: np.random.Generator, rate: float, *tokens: int, count: int = 8, version: int = 0) -> Seen:
    """A visit to a prompt with these tokens among others that tell nothing."""
    noise = rng.integers(100, 110, size=3).tolist()
    return Seen(
        ngrams=ngrams([1, 2, 3, *tokens, *noise]), right=int(rng.binomial(count, rate)), count=count, version=version
    )


def worded(rng: np.random.Generator, num: int) -> list[Seen]:
    """Visits of a pool whose prompts say how hard they are."""
    return [see(rng, 0.95, EASY) if index % 2 else see(rng, 0.05, HARD) for index in range(num)]


def prior_of(seen: list[Seen]) -> Prior:
    return fit_prior([(visit.right, visit.count) for visit in seen])


def test_prompts_worded_like_solved_ones_are_expected_to_be_solved() -> None:
    rng = np.random.default_rng(0)
    seen = worded(rng, 128)
    forecast = fit_forecast(seen, prior_of(seen), version=0, discount=1.0)
    assert forecast is not None
    easy, hard = (forecast.prior(see(rng, 0.5, token).ngrams) for token in (EASY, HARD))
    assert easy.mean > 0.7
    assert hard.mean < 0.3
    assert easy.strength == pytest.approx(hard.strength)
    assert easy.strength > prior_of(seen).strength, "what is told apart is known better"


def test_a_pool_whose_wording_tells_nothing_is_left_alone() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        seen = [see(rng, rng.beta(0.2, 0.3)) for _ in range(96)]
        assert fit_forecast(seen, prior_of(seen), version=0, discount=1.0) is None


def test_a_few_visits_are_not_enough() -> None:
    seen = worded(np.random.default_rng(0), 31)
    assert fit_forecast(seen, prior_of(seen), version=0, discount=1.0) is None
    empty = [replace(visit, count=0, right=0) for visit in worded(np.random.default_rng(0), 64)]
    assert fit_forecast([*seen, *empty], prior_of(seen), version=0, discount=1.0) is None


def test_a_prompt_of_which_nothing_is_known_is_expected_to_be_average() -> None:
    rng = np.random.default_rng(0)
    seen = worded(rng, 128)
    forecast = fit_forecast(seen, prior_of(seen), version=0, discount=1.0)
    assert forecast is not None
    assert forecast.prior(ngrams([])).mean == pytest.approx(forecast.mean)
    assert 0.4 < forecast.mean < 0.6


def test_what_was_seen_lately_counts_for_more() -> None:
    rng = np.random.default_rng(0)
    old = worded(rng, 96)
    # What was hard is easy now, and the other way round.
    new = [see(rng, 0.95, HARD, version=100) if index % 2 else see(rng, 0.05, EASY, version=100) for index in range(48)]
    asked = see(rng, 0.5, HARD).ngrams
    before = fit_forecast(old, Prior(a0=0.3, b0=0.3), version=0, discount=0.95)
    now = fit_forecast([*old, *new], Prior(a0=0.3, b0=0.3), version=100, discount=0.95)
    assert before is not None
    assert now is not None
    assert before.prior(asked).mean < 0.3
    assert now.prior(asked).mean > 0.7


def test_every_prior_it_gives_is_proper() -> None:
    rng = np.random.default_rng(0)
    seen = [see(rng, 1.0, EASY) if index % 2 else see(rng, 0.0, HARD) for index in range(64)]
    forecast = fit_forecast(seen, prior_of(seen), version=0, discount=1.0)
    assert forecast is not None
    for tokens in ([EASY], [EASY] * 200, [HARD], [HARD, EASY], []):
        prior = forecast.prior(ngrams(tokens))
        assert 0 < prior.a0 < prior.strength
