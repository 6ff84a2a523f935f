"""The committed pools."""

import pytest

from benchmarks.target import pools
from benchmarks.target.candidates import read
from benchmarks.target.commands import CANDIDATES
from benchmarks.target.pools import PLANS, PoolPlan
from benchmarks.target.shape import degenerate_rate

each_pool = pytest.mark.parametrize("plan", PLANS, ids=[plan.name for plan in PLANS])


@each_pool
def test_a_pool_has_its_prompts_and_its_held_out_prompts(plan: PoolPlan) -> None:
    split = pools.load(plan.name)
    assert (len(split.prompts), len(split.held_out)) == (plan.num_prompts, plan.num_held_out)


@each_pool
def test_no_held_out_expression_is_trained_on_not_even_commuted(plan: PoolPlan) -> None:
    split = pools.load(plan.name)
    keys = [prompt.metadata["key"] for prompt in (*split.prompts, *split.held_out)]
    assert len(set(keys)) == len(keys)


@each_pool
def test_success_rates_follow_the_shape_as_far_as_the_model_goes(plan: PoolPlan) -> None:
    split = pools.load(plan.name)
    for prompts in (split.prompts, split.held_out, split.held_out[:128]):
        rates = sorted(pools.rates_of(prompts))
        # No short prompt of this model is surer than 0.97: the upper end of the U is lower than it should be.
        wanted = [min(rate, 0.96) for rate in plan.shape.quantiles(len(rates))]
        assert max(abs(rate - want) for rate, want in zip(rates, wanted, strict=True)) < 0.05


def test_close_to_half_of_the_headline_pool_makes_degenerate_pilots() -> None:
    split = pools.load("headline")
    assert degenerate_rate(pools.rates_of(split.prompts), 16) == pytest.approx(0.45, abs=0.05)


@each_pool
def test_every_answer_fits_into_the_rollouts_tokens(plan: PoolPlan) -> None:
    split = pools.load(plan.name)
    assert all(prompt.answer.isdigit() and len(prompt.answer) <= 4 for prompt in (*split.prompts, *split.held_out))


@each_pool
def test_a_prompt_ends_in_its_expression_and_does_not_show_its_answer(plan: PoolPlan) -> None:
    for prompt in pools.load(plan.name).prompts:
        assert prompt.text.endswith(f"\n{prompt.metadata['expression']} =")
        assert f"\n{prompt.metadata['expression']} = " not in prompt.text


@each_pool
def test_the_candidates_give_the_committed_pools(plan: PoolPlan) -> None:
    assert pools.make(read(CANDIDATES), plan, seed=0) == pools.load(plan.name)
