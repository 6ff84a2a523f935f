"""A run's history."""

import pytest

from scheduler.core.errors import InvalidInput
from scheduler.core.types import Stage
from scheduler.demo.history import RunHistory, RunPoint
from tests.scheduler.demo.values import make_accuracy, make_history, make_point


@pytest.mark.parametrize(
    ("uniform_rollouts", "ending"),
    [
        (800, "; 38 % fewer than uniform on the same prompts"),
        (400, "; 25 % more than uniform on the same prompts"),
        (500, "; as many as uniform on the same prompts"),
        (None, ""),
    ],
)
def test_the_finding_compares_with_uniform_allocation(uniform_rollouts: int | None, ending: str) -> None:
    history = make_history(
        make_point(accuracy=make_accuracy(0.42)),
        make_point(elapsed_s=60, pilots=400, commits=100, accuracy=make_accuracy(0.71)),
        uniform_rollouts=uniform_rollouts,
    )
    assert history.finding == f"0.42 → 0.71 held-out accuracy with 500 rollouts{ending}"


def test_without_an_evaluation_the_finding_is_what_was_spent() -> None:
    history = make_history(make_point(step=12, pilots=1000, commits=234))
    assert history.finding == "1,234 rollouts spent in 12 steps"
    assert history.measured == ()


def test_evaluation_rollouts_are_not_training_rollouts() -> None:
    point = RunPoint(elapsed_s=0, step=0, version=1, rollouts={Stage.PILOT: 8, Stage.COMMIT: 4, Stage.EVAL: 100})
    assert point.training_rollouts == 12


@pytest.mark.parametrize(
    "points",
    [
        (),
        (make_point(elapsed_s=2), make_point(elapsed_s=1)),
        (make_point(pilots=8), make_point(elapsed_s=1, pilots=4)),
    ],
)
def test_a_history_that_is_empty_or_goes_backwards_is_refused(points: tuple[RunPoint, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"at least one point|goes backwards"):
        RunHistory(allocator="grpo", model="tiny", points=points)
