"""The committed pools."""

import pytest

from benchmarks.target import pools
from benchmarks.target.candidates import read
from benchmarks.target.pools import PLANS, PoolPlan
from benchmarks.target.shape import degenerate_rate

each_pool = pytest.mark.parametrize("plan", PLANS, ids=[plan.name for plan in PLANS])
SHAPED = [plan for plan in PLANS if plan.shape is not None]
shaped_pool = pytest.mark.parametrize("plan", SHAPED, ids=[plan.name for plan in SHAPED])


@each_pool
def test_a_pool_has_its_prompts_and_its_held_out_prompts(plan: PoolPlan) -> None:
    split = pools.load(plan.name)
    assert (len(split.prompts), len(split.held_out)) == (plan.num_prompts, plan.num_held_out)


@each_pool
def test_no_held_out_expression_is_trained_on_not_even_commuted(plan: PoolPlan) -> None:
    split = pools.load(plan.name)
    keys = [prompt.metadata["key"] for prompt in (*split.prompts, *split.held_out)]
    assert len(set(keys)) == len(keys)


@shaped_pool
def test_success_rates_follow_the_shape_as_far_as_the_model_goes(plan: PoolPlan) -> None:
    split, shape = pools.load(plan.name), plan.shape
    assert shape is not None
    for prompts in (split.prompts, split.held_out, split.held_out[:128]):
        rates = sorted(pools.rates_of(prompts))
        # No short prompt of this model is surer than 0.97: the upper end of the U is lower than it should be.
        wanted = [min(rate, 0.96) for rate in shape.quantiles(len(rates))]
        assert max(abs(rate - want) for rate, want in zip(rates, wanted, strict=True)) < 0.05


@pytest.mark.parametrize("name", ["headline", "reasoning"])
def test_close_to_half_of_a_realistic_pool_makes_degenerate_pilots(name: str) -> None:
    split = pools.load(name)
    assert degenerate_rate(pools.rates_of(split.prompts), 16) == pytest.approx(0.45, abs=0.05)


@each_pool
def test_every_answer_fits_into_the_rollouts_tokens(plan: PoolPlan) -> None:
    split = pools.load(plan.name)
    assert all(1 <= len(prompt.answer) <= 4 for prompt in (*split.prompts, *split.held_out))


@shaped_pool
def test_a_prompt_ends_in_its_expression_and_does_not_show_its_answer(plan: PoolPlan) -> None:
    for prompt in pools.load(plan.name).prompts:
        assert prompt.text.endswith(f"\n{prompt.metadata['expression']} =")
        assert f"\n{prompt.metadata['expression']} = " not in prompt.text


@each_pool
def test_the_candidates_give_the_committed_pools(plan: PoolPlan) -> None:
    assert pools.make(read(plan.candidates_path()), plan, seed=0) == pools.load(plan.name)


def test_a_reasoning_prompt_shows_four_solved_questions_and_none_of_those_that_are_asked() -> None:
    split = pools.load("reasoning")
    prompts = [*split.prompts, *split.held_out]
    asked = {prompt.metadata["expression"] for prompt in prompts}
    for prompt in prompts:
        *shown, last = prompt.text.split("Q: ")[1:]
        assert len(shown) == 4
        assert last == f"{prompt.metadata['expression']}\nA:"
        assert not asked & {example.split("\nA: ")[0] for example in shown}


def test_the_ids_of_a_pool_are_distinct_and_fit_the_api() -> None:
    for plan in PLANS:
        split = pools.load(plan.name)
        ids = [prompt.id for prompt in (*split.prompts, *split.held_out)]
        assert len(set(ids)) == len(ids)
        assert max(map(len, ids)) <= 64
