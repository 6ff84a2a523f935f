"""A run as it was asked for."""

import dataclasses

import pytest

from scheduler.core.budget import Budget, Cost
from scheduler.core.errors import InvalidInput
from scheduler.core.incomplete import IncompletePolicy
from scheduler.core.mixture import PoolShare
from scheduler.core.run import EvaluationPlan, RunMode
from scheduler.core.stragglers import StragglerPolicy
from scheduler.core.types import Sampling
from tests.scheduler.core.factories import CONFIG


def test_a_group_is_its_pilots_and_its_commits() -> None:
    assert dataclasses.replace(CONFIG, pilots=3, commits=5).group_size == 8


def test_a_claim_reserves_the_largest_group_at_its_worst_case() -> None:
    assert CONFIG.largest_claim == Cost(rollouts=16, tokens=160)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"pilots": -1}, "pilots"),
        ({"commits": -1}, "commits"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_staleness": -1}, "max_staleness"),
        ({"max_staleness": 2, "batches_ahead": 3}, "batches_ahead"),
        ({"max_staleness": 2, "batches_ahead": -1}, "batches_ahead"),
        ({"sampling": Sampling(max_new_tokens=0)}, "sampling.max_new_tokens"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"attempt_timeout_s": 0.0}, "attempt_timeout_s"),
        ({"max_steps": 0}, "max_steps"),
        ({"pilots": 1, "commits": 0}, "commits"),
        ({"pilots": 0, "commits": 1}, "commits"),
        ({"evaluation": EvaluationPlan(pool="sums")}, "evaluation.pool"),
        ({"discount": 0.0}, "discount"),
        ({"discount": 1.01}, "discount"),
        ({"sampling": Sampling(max_new_tokens=10, temperature=0.0)}, "sampling.temperature"),
        ({"budget": Budget(rollouts=15)}, "budget.rollouts"),
        ({"budget": Budget(tokens=159)}, "budget.tokens"),
        ({"min_group": 1}, "min_group"),
        ({"min_group": 17}, "min_group"),
        ({"straggler_share": 0.0}, "straggler_share"),
        ({"straggler_share": 1.0}, "straggler_share"),
        ({"straggler_factor": 1.0}, "straggler_factor"),
        ({"stragglers": StragglerPolicy.REPLACE, "max_attempts": 1}, "stragglers"),
        ({"stragglers": StragglerPolicy.REPLACE, "incomplete": IncompletePolicy.DROP}, "stragglers"),
        ({"overlong_cache": 0}, "overlong_cache"),
        ({"overlong_cache": 11}, "overlong_cache"),
    ],
)
def test_a_run_that_could_not_work_is_refused_with_the_field_that_is_wrong(
    changes: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]  # the table names the fields
    assert refusal.value.field == field


@pytest.mark.parametrize(
    "changes",
    [
        {"pilots": 0, "commits": 2},
        {"pilots": 2, "commits": 0},
        {"max_staleness": 0},
        {"max_staleness": 2, "batches_ahead": 0},
        {"max_staleness": 2, "batches_ahead": 2},
        {"discount": 1.0},
        {"max_steps": 1},
        {"max_attempts": 1},
        {"budget": Budget(rollouts=16, tokens=160)},
        {"min_group": 2},
        {"min_group": 16},
        {"overlong_cache": 1},
        {"overlong_cache": 10},
        {"stragglers": StragglerPolicy.REPLACE, "max_attempts": 2},
        {"evaluation": EvaluationPlan(pool="held-out", every_steps=1)},
    ],
)
def test_the_smallest_run_that_works_is_accepted(changes: dict[str, object]) -> None:
    accepted = dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]  # the table names the fields
    assert all(getattr(accepted, name) == value for name, value in changes.items())


@pytest.mark.parametrize(
    ("min_group", "num_wanted", "least"),
    [(None, 16, 8), (None, 15, 8), (None, 2, 2), (None, 3, 2), (12, 16, 12), (12, 8, 8), (2, 16, 2)],
)
def test_a_group_goes_without_half_of_its_attempts_at_most_unless_said_otherwise(
    min_group: int | None, num_wanted: int, least: int
) -> None:
    assert dataclasses.replace(CONFIG, min_group=min_group).least_group(num_wanted) == least


def test_the_reward_falls_over_a_fifth_of_the_tokens_unless_said_otherwise() -> None:
    assert CONFIG.penalised_tokens == 2
    assert dataclasses.replace(CONFIG, overlong_cache=7).penalised_tokens == 7


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"rollouts": 0}, "evaluation.rollouts"),
        ({"rollouts_between": 0}, "evaluation.rollouts_between"),
        ({"every_steps": 0}, "evaluation.every_steps"),
        ({"target": " 7\n"}, "evaluation.target"),
    ],
)
def test_an_evaluation_that_measures_nothing_is_refused(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        EvaluationPlan(pool="held-out", **changes)  # type: ignore[arg-type]  # the table names the fields
    assert refusal.value.field == field


def test_a_claim_of_a_profile_reserves_its_pilots_alone() -> None:
    looks = dataclasses.replace(CONFIG, mode=RunMode.PROFILE, weights="/models/tiny", budget=Budget(rollouts=8))
    assert looks.largest_claim == Cost(rollouts=looks.pilots, tokens=10 * looks.pilots)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"mode": RunMode.TRAIN, "weights": "/models/tiny"}, "weights"),
        ({"mode": RunMode.PROFILE, "pilots": 0}, "pilots"),
        ({"mode": RunMode.PROFILE, "max_steps": 3}, "max_steps"),
        ({"mode": RunMode.PROFILE, "evaluation": EvaluationPlan(pool="held-out")}, "evaluation"),
        ({"mode": RunMode.PROFILE, "budget": Budget(rollouts=7)}, "budget.rollouts"),
    ],
)
def test_what_a_profile_cannot_have_is_refused(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]
    assert refused.value.field == field


MIXED = (PoolShare(name="math", weight=2.0), PoolShare(name="code"))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"pool": ""}, "pool"),
        ({"pools": MIXED}, "pool"),
        ({"pool": "", "pools": MIXED[:1]}, "pools"),
        ({"pool": "", "pools": (*MIXED, MIXED[0])}, "pools"),
        *(
            ({"pool": "", "pools": (MIXED[0], PoolShare(name="code", weight=weight))}, "pools.1.weight")
            for weight in (0.0, -1.0, 1e-300, 0.0009, 1.1e6, 1e300, float("inf"), float("nan"))
        ),
        ({"pool": "", "pools": MIXED, "evaluation": EvaluationPlan(pool="code")}, "evaluation.pool"),
        ({"pool": "", "pools": MIXED, "mode": RunMode.PROFILE}, "pools"),
    ],
)
def test_pools_that_cannot_be_mixed_are_refused(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]
    assert refused.value.field == field


def test_a_run_over_one_pool_is_a_mixture_of_one() -> None:
    assert CONFIG.mixture.names == (CONFIG.pool,)
    assert dataclasses.replace(CONFIG, pool="", pools=MIXED).mixture.names == ("math", "code")
