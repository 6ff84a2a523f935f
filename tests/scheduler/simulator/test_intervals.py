import numpy as np
import pytest

from scheduler.core.errors import InvalidInput
from scheduler.simulator.intervals import estimate


def test_the_interval_is_students() -> None:
    found = estimate([1.0, 2.0, 3.0])

    assert found.mean == 2.0
    assert found.margin == pytest.approx(4.303 / 3**0.5)
    assert (found.low, found.high) == pytest.approx((2.0 - found.margin, 2.0 + found.margin))


def test_about_95_intervals_in_100_hold_the_mean() -> None:
    samples = np.random.default_rng(0).normal(5.0, 1.0, size=(2000, 4))
    held = [found.low <= 5.0 <= found.high for found in map(estimate, samples.tolist())]

    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


def test_one_seed_has_no_interval() -> None:
    with pytest.raises(InvalidInput, match="at least 2"):
        estimate([1.0])
