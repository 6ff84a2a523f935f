"""What uniform allocation would have cost."""

import numpy as np
import pytest

from scheduler.core.spend import first_visit_counter
from scheduler.core.uniform import uniform_rollouts


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (0.3, 0.5), (0.4, 2.0), (3.0, 1.0)])
def test_what_uniform_would_have_cost_follows_from_a_few_pilots_of_each_prompt(a: float, b: float) -> None:
    rng = np.random.default_rng(3)
    rates = rng.beta(a, b, 4000)
    right = rng.binomial(8, rates)
    looks = {first_visit_counter(int(correct), 4): 0 for correct in range(5)}
    for correct in rng.binomial(4, rates):
        looks[first_visit_counter(int(correct), 4)] += 1
    mixed = int(((right > 0) & (right < 8)).sum())
    assert uniform_rollouts({**looks, "mixed:groups": mixed}, 8) == pytest.approx(8 * len(rates), rel=0.06)


def test_twice_the_mixed_groups_would_have_cost_uniform_twice_as_much() -> None:
    looks = {first_visit_counter(correct, 4): 10 for correct in range(5)}
    once, twice = (uniform_rollouts({**looks, "mixed:groups": mixed}, 8) for mixed in (6, 12))
    assert once is not None
    assert once > 6 * 8
    assert twice == pytest.approx(2 * once)


_LOOK = {first_visit_counter(2, 4): 1}


@pytest.mark.parametrize(
    ("counters", "group_size"), [(_LOOK, 8), ({"mixed:groups": 3}, 8), ({**_LOOK, "mixed:groups": 3}, 1)]
)
def test_without_a_mixed_group_or_a_look_at_the_pool_there_is_nothing_to_compare_with(
    counters: dict[str, int], group_size: int
) -> None:
    assert uniform_rollouts(counters, group_size) is None
