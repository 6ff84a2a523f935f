"""Curves, smoothing and crossings, on curves whose answers are known."""

import pytest

from benchmarks.target.curves import Axis, Crossing, Curve, crossing, curve_of, mean_curve, smoothed
from scheduler.core.errors import InvalidInput
from tests.benchmarks.target.records import make_record


def _curve(*accuracy: float, step: float = 100.0) -> Curve:
    return Curve(spent=tuple(step * place for place in range(len(accuracy))), accuracy=accuracy)


def test_a_target_between_two_points_is_crossed_in_proportion() -> None:
    assert crossing(_curve(0.4, 0.6), 0.45) == Crossing(spent=25.0)


def test_a_target_that_is_not_reached_is_censored_at_the_end() -> None:
    assert crossing(_curve(0.4, 0.5, 0.45), 0.6) == Crossing(spent=200.0, censored=True)


def test_the_first_crossing_counts_whatever_follows() -> None:
    assert crossing(_curve(0.4, 0.6, 0.4, 0.7), 0.5).spent == 50.0


def test_a_target_below_the_start_costs_nothing() -> None:
    assert crossing(_curve(0.4, 0.6), 0.3) == Crossing(spent=0.0)


def test_smoothing_leaves_a_straight_line_but_for_its_end() -> None:
    assert smoothed(_curve(0.1, 0.2, 0.3, 0.4)).accuracy == pytest.approx((0.1, 0.2, 0.3, 0.35))


def test_smoothing_keeps_the_accuracy_before_training() -> None:
    assert smoothed(_curve(0.1, 0.9, 0.9)).accuracy[0] == 0.1


def test_an_outlier_counts_a_third() -> None:
    assert smoothed(_curve(0.4, 0.4, 0.7, 0.4, 0.4)).accuracy == pytest.approx((0.4, 0.5, 0.5, 0.5, 0.4))


def test_the_mean_goes_as_far_as_the_shortest_curve() -> None:
    mean = mean_curve([_curve(0.0, 1.0), _curve(0.0, 0.5, 1.0)])
    assert mean.end == 100.0
    assert mean.accuracy[-1] == pytest.approx(0.75)


def test_wall_clock_leaves_evaluations_out() -> None:
    record = make_record((0.4, 0.5, 0.6), evaluation_s=30.0)
    assert curve_of(record, Axis.SECONDS).spent == (0.0, 10.0, 20.0)


def test_rollouts_and_tokens_are_those_of_the_measured_version() -> None:
    record = make_record((0.4, 0.5, 0.6), rollouts_per_step=64)
    assert curve_of(record, Axis.ROLLOUTS).spent == (0.0, 64.0, 128.0)
    assert curve_of(record, Axis.TOKENS).spent == (0.0, 640.0, 1280.0)


def test_a_run_that_was_never_measured_has_no_curve() -> None:
    with pytest.raises(InvalidInput):
        curve_of(make_record(()), Axis.ROLLOUTS)
