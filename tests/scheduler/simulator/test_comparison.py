from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest

from scheduler.core.errors import InvalidInput
from scheduler.core.ledger import Outcome
from scheduler.simulator.account import Account
from scheduler.simulator.comparison import Match, Plan, compare, play
from scheduler.simulator.pool import PoolName
from tests.scheduler.simulator.comparisons import make_plan


def test_grpo_is_one_by_construction() -> None:
    (grpo,) = compare(make_plan("grpo"))

    assert (grpo.signal.mean, grpo.signal.low, grpo.signal.high) == (1.0, 1.0, 1.0)


def test_the_baseline_runs_unasked_and_is_shown_only_if_asked_for() -> None:
    plan = make_plan("dapo")

    assert {match.entrant.label for match in plan.matches} == {"grpo", "dapo"}
    assert [standing.label for standing in compare(plan)] == ["dapo"]


def test_a_comparison_is_the_same_again_and_whoever_runs_it() -> None:
    def backwards(run: Callable[[Match], Account], matches: Sequence[Match]) -> Iterator[Account]:
        done = [run(match) for match in reversed(matches)]
        return reversed(done)

    plan = make_plan("grpo", "pilot_commit", pools=(PoolName.BROAD, PoolName.DRIFTING))
    assert compare(plan) == compare(plan) == compare(plan, backwards)


def test_every_rule_meets_the_same_pool_on_a_seed() -> None:
    first, *others = [play(match) for match in make_plan("grpo", "dapo", "pilot_commit").matches if match.seed == 1]

    assert all(account.milestones[0] == first.milestones[0] for account in others)


def test_a_standing_says_where_the_rollouts_went() -> None:
    (standing,) = compare(make_plan("dapo"))

    assert standing.rollouts == sum(standing.outcomes.values())
    assert standing.outcomes[Outcome.SURPLUS] > 0
    assert standing.trained_groups == standing.mixed_groups == 16
    assert standing.rollouts_per_mixed_group == pytest.approx(standing.rollouts / 16)
    assert 0 < sum(standing.skip_rates.values()) < 1


def test_only_drifting_pools_have_a_target() -> None:
    static, drifting = compare(make_plan("grpo", pools=(PoolName.HARD, PoolName.DRIFTING_HARD), steps=8))

    assert static.arrival is None
    assert drifting.arrival is not None
    assert drifting.arrival.reached == 2
    assert drifting.arrival.saving is not None
    assert drifting.arrival.saving.mean == 1.0


def test_a_target_that_a_seed_does_not_reach_is_said_so_and_has_no_mean() -> None:
    plan = make_plan("grpo", "reinforce_ada", pools=(PoolName.DRIFTING_HARD,), steps=4)
    arrivals = {standing.label: standing.arrival for standing in compare(plan)}

    late = arrivals["reinforce_ada"]
    assert late is not None
    assert late.reached < 2
    assert (late.rollouts, late.saving) == (None, None)


@pytest.mark.parametrize(
    ("field", "plan"), [("seeds", partial(make_plan, seeds=1)), ("num_prompts", partial(make_plan, num_prompts=7))]
)
def test_a_comparison_without_an_interval_or_without_prompts_is_refused(field: str, plan: Callable[..., Plan]) -> None:
    with pytest.raises(InvalidInput, match="below") as refused:
        plan("grpo")

    assert refused.value.field == field


def test_a_comparison_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="needs an allocator and a pool"):
        make_plan()
