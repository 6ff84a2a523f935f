import numpy as np
import pytest

from scheduler.core.errors import InvalidInput
from scheduler.simulator.selection_bias import Band

BAND = Band(pilots=16, commits=48, low=2, high=12)
# Success rate, P(commit), and given commit: mean of the pilots, gradient factor.
TABLE = (
    (0.02, 0.040, 0.131, 2.35),
    (0.05, 0.189, 0.142, 1.43),
    (0.08, 0.370, 0.154, 1.21),
    (0.10, 0.485, 0.164, 1.14),
    (0.125, 0.612, 0.177, 1.09),
    (0.15, 0.716, 0.191, 1.06),
    (0.20, 0.859, 0.225, 1.02),
    (0.30, 0.974, 0.307, 1.00),
    (0.50, 0.989, 0.497, 1.00),
    (0.70, 0.754, 0.653, 1.02),
    (0.75, 0.595, 0.679, 1.05),
    (0.80, 0.402, 0.700, 1.09),
    (0.85, 0.210, 0.717, 1.18),
    # 1.3645 in closed form: the table, which is a simulation's, has 1.37.
    (0.90, 0.068, 0.731, 1.36),
    (0.95, 0.007, 0.742, 1.95),
)


@pytest.mark.parametrize(("rate", "commit", "mean", "factor"), TABLE)
def test_the_closed_form_gives_the_published_table(rate: float, commit: float, mean: float, factor: float) -> None:
    assert round(BAND.commit_probability(rate), 3) == commit
    assert round(BAND.pilot_mean(rate), 3) == mean
    assert round(BAND.gradient_factor(rate), 2) == factor


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9])
def test_the_closed_form_agrees_with_policy_gradients_of_simulated_groups(rate: float) -> None:
    # A policy that is right with probability p = σ(θ): ∇log π is 1 - p if it was right and -p if not, ∇p is p (1 - p).
    rng = np.random.default_rng(7)
    right_pilots = rng.binomial(BAND.pilots, rate, size=400_000)
    is_committed = (right_pilots >= BAND.low) & (right_pilots <= BAND.high)
    right_pilots = right_pilots[is_committed]
    right = right_pilots + rng.binomial(BAND.commits, rate, size=right_pilots.size)
    n = BAND.group_size
    baseline_of_right, baseline_of_wrong = (right - 1) / (n - 1), right / (n - 1)
    gradients = right * (1 - baseline_of_right) * (1 - rate) + (n - right) * (0 - baseline_of_wrong) * (0 - rate)
    factors = gradients / (n * rate * (1 - rate))

    assert is_committed.mean() == pytest.approx(BAND.commit_probability(rate), abs=0.004)
    assert right_pilots.mean() / BAND.pilots == pytest.approx(BAND.pilot_mean(rate), abs=0.002)
    error = 4 * factors.std() / np.sqrt(factors.size)
    assert factors.mean() == pytest.approx(BAND.gradient_factor(rate), abs=error)


@pytest.mark.parametrize("rate", [0.02, 0.5, 0.95])
def test_without_a_band_nothing_is_biased(rate: float) -> None:
    everything = Band(pilots=16, commits=48, low=0, high=16)

    assert everything.commit_probability(rate) == pytest.approx(1)
    assert everything.pilot_mean(rate) == pytest.approx(rate)
    assert everything.gradient_factor(rate) == pytest.approx(1)


@pytest.mark.parametrize(("rate", "weight"), [(0.02, 0.09), (0.3, 0.98), (0.7, 0.77), (0.8, 0.44)])
def test_selection_is_a_soft_band_pass(rate: float, weight: float) -> None:
    assert BAND.weight(rate) == pytest.approx(weight, abs=0.006)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_rate_without_variance_is_refused(rate: float) -> None:
    with pytest.raises(InvalidInput, match="within"):
        BAND.commit_probability(rate)


def test_a_band_outside_the_pilots_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no band"):
        Band(pilots=4, commits=4, low=2, high=5)


def test_a_group_that_compares_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="compares nothing"):
        Band(pilots=1, commits=0, low=0, high=1)
