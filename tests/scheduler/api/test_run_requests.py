"""What a request leaves out is what the core would have taken."""

from dataclasses import MISSING, fields

import pytest
from pydantic import ValidationError

from scheduler.api.learner_requests import Applied
from scheduler.api.run_requests import NewRun, NewSampling
from scheduler.core.breaker import BreakerLimits
from scheduler.core.budget import Budget
from scheduler.core.evaluation import EvaluationMeasure
from scheduler.core.incomplete import IncompletePolicy
from scheduler.core.overlong import OverlongPolicy
from scheduler.core.run import EvaluationPlan, RunConfig
from scheduler.core.stragglers import StragglerPolicy
from scheduler.core.types import Sampling


def _new_run() -> NewRun:
    return NewRun(pool="sums", sampling=NewSampling(max_new_tokens=8))


def test_a_default_of_the_api_is_the_default_of_the_core() -> None:
    config = _new_run().config()
    for field in fields(RunConfig):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        # A pool is named, or several.
        if default is not MISSING and field.name != "pool":
            assert getattr(config, field.name) == default, field.name
    assert config.sampling == Sampling(max_new_tokens=8)
    assert config.budget == Budget()


def test_everything_that_is_asked_for_reaches_the_core() -> None:
    asked = NewRun.model_validate(
        {
            "pool": "sums",
            "allocator": "grpo",
            "sampling": {"max_new_tokens": 8, "stop": ["\n"]},
            "budget": {"rollouts": 100, "wall_clock_s": 5.0},
            "evaluation": {"pool": "held-out", "every_steps": 5, "measure": "likelihood", "target": "{answer}."},
            "parameters": {"floor": 0.1},
            "incomplete": "accept",
            "min_group": 3,
            "stragglers": "cut",
            "straggler_share": 0.5,
            "straggler_factor": 4,
            "overlong": "penalise",
            "overlong_cache": 2,
            "breaker": {"window": 32, "max_lost_rate": 0.9, "pause_s": 2},
        }
    ).config()
    assert asked.sampling.stop == ("\n",)
    assert asked.budget == Budget(rollouts=100, wall_clock_s=5.0)
    assert asked.evaluation == EvaluationPlan(
        pool="held-out", every_steps=5, measure=EvaluationMeasure.LIKELIHOOD, target="{answer}."
    )
    assert (asked.allocator, asked.parameters) == ("grpo", {"floor": 0.1})
    assert (asked.incomplete, asked.min_group) == (IncompletePolicy.ACCEPT, 3)
    assert (asked.stragglers, asked.straggler_share, asked.straggler_factor) == (StragglerPolicy.CUT, 0.5, 4.0)
    assert (asked.overlong, asked.overlong_cache) == (OverlongPolicy.PENALISE, 2)
    assert asked.breaker == BreakerLimits(window=32, max_lost_rate=0.9, pause_s=2.0)


@pytest.mark.parametrize("temperature", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused(temperature: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        NewSampling(max_new_tokens=8, temperature=temperature)


def test_a_measurement_that_is_not_finite_does_not_cost_the_report() -> None:
    body = '{"incarnation": "a", "step": 1, "path": "/w", "digest": "d", "group_ids": [], "stats": {"loss": null}}'
    assert Applied.model_validate_json(body).stats == {"loss": None}
