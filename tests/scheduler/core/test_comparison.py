"""What runs cost that got equally far."""

import pytest

from scheduler.core.comparison import Point, Spent, common_accuracy, reached


def points(*of: tuple[float, float]) -> list[Point]:
    """A curve of (rollouts, accuracy); a rollout is ten tokens and two seconds."""
    return [
        Point(spent=Spent(rollouts=rollouts, tokens=10 * rollouts, seconds=2 * rollouts), accuracy=accuracy)
        for rollouts, accuracy in of
    ]


@pytest.mark.parametrize(
    ("accuracy", "rollouts"),
    [
        # At an evaluation, between two, before the first step.
        (0.5, 100.0),
        (0.4, 50.0),
        # From .4 at 200 to .9 at 400: three fifths of the way.
        (0.7, 320.0),
        (0.3, 0.0),
        (0.1, 0.0),
        # Never.
        (0.91, None),
    ],
)
def test_it_is_reached_on_the_way_between_two_evaluations(accuracy: float, rollouts: float | None) -> None:
    found = reached(points((0, 0.3), (100, 0.5), (200, 0.4), (400, 0.9)), accuracy)
    if rollouts is None:
        assert found is None
    else:
        assert found is not None
        assert (found.rollouts, found.tokens, found.seconds) == pytest.approx((rollouts, 10 * rollouts, 2 * rollouts))


def test_a_run_without_an_evaluation_reached_nothing() -> None:
    assert reached([], 0.0) is None


def test_runs_are_compared_at_the_highest_accuracy_that_all_have_reached() -> None:
    assert common_accuracy([points((0, 0.3), (9, 0.8), (20, 0.7)), points((0, 0.3), (50, 0.6))]) == 0.6
    assert common_accuracy([points((0, 0.3)), points()]) is None
    assert common_accuracy([]) is None
