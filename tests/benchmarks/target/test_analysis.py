"""Spend to the targets and paired ratios, on numbers whose answers are known."""

from math import exp, log

import pytest

from benchmarks.target.analysis import Bound, cells, pooled, ratio_of, spend_of
from benchmarks.target.curves import Axis, Crossing
from benchmarks.target.targets import Targets
from tests.benchmarks.target.records import make_record

RISING = (0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
TARGETS = Targets(start=0.4, end=0.6, seeds=(0, 1), accuracy={"80": 0.56})


def _at(*spent: float) -> list[Crossing]:
    return [Crossing(spent=value) for value in spent]


def _pairs(base: list[Crossing], other: list[Crossing]) -> list[tuple[Crossing, Crossing]]:
    return list(zip(base, other, strict=True))


def test_a_ratio_is_how_many_times_less_was_needed_than_by_grpo() -> None:
    ratio = ratio_of(_pairs(_at(400.0, 400.0, 400.0, 400.0), _at(200.0, 200.0, 200.0, 200.0)))
    assert ratio is not None
    assert (ratio.estimate, ratio.low, ratio.high) == pytest.approx((2.0, 2.0, 2.0))


def test_ratios_are_averaged_geometrically_with_student_on_their_logarithms() -> None:
    ratio = ratio_of(_pairs(_at(100.0, 400.0, 100.0, 400.0), _at(100.0, 100.0, 100.0, 100.0)))
    assert ratio is not None
    # Logs 0, ln 4, 0, ln 4: mean ln 2, deviation 2 ln 2 / sqrt(3), and t with three degrees of freedom is 3.182.
    assert ratio.estimate == pytest.approx(2.0)
    assert ratio.high == pytest.approx(2.0 * 2.0 ** (3.182 / 3**0.5), rel=1e-3)
    assert ratio.low == pytest.approx(2.0 / 2.0 ** (3.182 / 3**0.5), rel=1e-3)


def test_few_pairs_take_the_spread_of_all_allocators_together() -> None:
    few = _pairs(_at(200.0, 400.0), _at(100.0, 200.0))
    spread = pooled([few, _pairs(_at(100.0, 400.0, 100.0), _at(100.0, 100.0, 100.0))])
    assert spread is not None
    # No spread of its own, one degree of freedom; logs 0, ln 4, 0: sum of squares 2/3 (ln 4)^2, two.
    assert spread.freedom == 3
    assert spread.deviation == pytest.approx(log(4.0) * (2 / 9) ** 0.5)
    ratio = ratio_of(few, spread)
    assert ratio is not None
    assert ratio.estimate == pytest.approx(2.0)
    assert ratio.high == pytest.approx(2.0 * exp(3.182 * spread.deviation / 2**0.5), rel=1e-3)


def test_what_is_censored_says_nothing_of_the_spread() -> None:
    assert pooled([_pairs(_at(100.0), _at(50.0))]) is None
    assert pooled([[(Crossing(spent=1.0), Crossing(spent=2.0, censored=True))] * 2]) is None


def test_a_single_pair_has_no_interval() -> None:
    ratio = ratio_of(_pairs(_at(400.0), _at(200.0)))
    assert ratio is not None
    assert ratio.estimate == pytest.approx(2.0)
    assert (ratio.low, ratio.high) == (None, None)


@pytest.mark.parametrize(
    ("base_censored", "other_censored", "bound"),
    [(False, True, Bound.BELOW), (True, False, Bound.ABOVE), (True, True, Bound.NONE)],
)
def test_a_censored_value_makes_the_ratio_a_bound_without_an_interval(
    base_censored: bool, other_censored: bool, bound: Bound
) -> None:
    base = [Crossing(spent=400.0, censored=base_censored), Crossing(spent=400.0)]
    other = [Crossing(spent=200.0, censored=other_censored), Crossing(spent=200.0)]
    ratio = ratio_of(_pairs(base, other))
    assert ratio is not None
    assert (ratio.bound, ratio.low, ratio.high) == (bound, None, None)


def test_a_mean_with_a_censored_run_is_a_lower_bound() -> None:
    spend = spend_of([Crossing(spent=100.0), Crossing(spent=300.0, censored=True)])
    assert (spend.mean, spend.bound, spend.num_reached, spend.num_seeds) == (200.0, Bound.ABOVE, 1, 2)


def test_an_allocator_that_spends_half_per_step_has_a_ratio_of_two() -> None:
    base = [make_record(RISING, seed=seed) for seed in (0, 1)]
    ours = [make_record(RISING, name="adaptive", seed=seed, rollouts_per_step=50) for seed in (0, 1)]
    found = {(cell.name, cell.axis): cell for cell in cells([*base, *ours], base, TARGETS)}
    ratio = found["adaptive", Axis.ROLLOUTS].ratio
    assert ratio is not None
    assert ratio.estimate == pytest.approx(2.0)
    assert ratio.num_pairs == 2
    assert found["grpo", Axis.ROLLOUTS].spend.mean == pytest.approx(320.0)
    assert found["grpo", Axis.ROLLOUTS].ratio is None


def test_seeds_without_a_run_of_grpo_are_not_compared() -> None:
    base = [make_record(RISING, seed=0)]
    ours = [make_record(RISING, name="adaptive", seed=seed, rollouts_per_step=25) for seed in (0, 5)]
    cell = next(cell for cell in cells(ours, base, TARGETS) if cell.axis is Axis.ROLLOUTS)
    assert cell.ratio is not None
    assert (cell.ratio.num_pairs, cell.spend.num_seeds) == (1, 2)
