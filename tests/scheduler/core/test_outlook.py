"""How far a run can get."""

import dataclasses

import pytest

from scheduler.core.budget import Budget
from scheduler.core.evaluation import EvaluationMeasure
from scheduler.core.outlook import Bound, Outlook, outlook
from scheduler.core.run import EvaluationPlan
from tests.scheduler.core.factories import CONFIG


def of(budget: Budget, *, max_steps: int | None = None, evaluation: EvaluationPlan | None = None) -> Outlook:
    """The outlook of a run on 100 held-out prompts."""
    config = dataclasses.replace(CONFIG, budget=budget, max_steps=max_steps, evaluation=evaluation)
    return outlook(config, num_held_out=100)


def test_without_a_limit_nothing_bounds_it() -> None:
    found = of(Budget())
    assert (found.bounds, found.steps, found.most_rollouts, found.most_tokens) == ((), None, None, None)
    assert found.group_size == 16


def test_the_tightest_limit_in_whole_groups_is_first() -> None:
    found = of(Budget(rollouts=1000, tokens=9600, wall_clock_s=60.0), max_steps=20)
    assert found.bounds == (
        Bound(limit="budget.tokens", value=9600, groups=60),
        Bound(limit="budget.rollouts", value=1000, groups=62),
        Bound(limit="max_steps", value=20, groups=80),
        Bound(limit="budget.wall_clock_s", value=60.0, groups=None),
    )
    assert found.steps == 15


def test_a_limit_in_seconds_says_nothing_of_steps() -> None:
    assert of(Budget(wall_clock_s=60.0)).steps is None


def test_tokens_are_bounded_by_rollouts_too() -> None:
    assert of(Budget(rollouts=100)).most_tokens == 1000
    assert of(Budget(rollouts=100, tokens=700)).most_tokens == 700
    assert of(Budget(rollouts=100, tokens=7000)).most_tokens == 1000
    assert of(Budget(tokens=700)).most_rollouts is None


def test_steps_bound_no_rollouts_as_skipped_prompts_cost_pilots() -> None:
    found = of(Budget(), max_steps=3)
    assert (found.steps, found.most_rollouts, found.most_tokens) == (3, None, None)


@pytest.mark.parametrize(
    ("plan", "max_steps", "cap", "rollouts"),
    [
        (None, None, None, 0),
        # First and last.
        (EvaluationPlan(pool="held-out", rollouts=4), None, None, 800),
        # And after steps 3, 6 and 9.
        (EvaluationPlan(pool="held-out", rollouts=4, every_steps=3), 10, None, 1100),
        (EvaluationPlan(pool="held-out", rollouts=4, every_steps=3), 10, 900, 900),
        (EvaluationPlan(pool="held-out", rollouts=4, every_steps=3), None, None, None),
        (EvaluationPlan(pool="held-out", rollouts=4, every_steps=3), None, 900, 900),
        (EvaluationPlan(pool="held-out", every_steps=3, measure=EvaluationMeasure.LIKELIHOOD), 10, None, 500),
    ],
)
def test_evaluations_are_counted_until_the_last_step(
    plan: EvaluationPlan | None, max_steps: int | None, cap: int | None, rollouts: int | None
) -> None:
    assert of(Budget(eval_rollouts=cap), max_steps=max_steps, evaluation=plan).eval_rollouts == rollouts
