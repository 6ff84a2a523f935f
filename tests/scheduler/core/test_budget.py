"""The budget: what still fits."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.budget import Budget, Cost, worst_case
from scheduler.core.errors import InvalidInput
from scheduler.core.ledger import Ledger, attempts_counter
from scheduler.core.types import Stage

amounts = st.integers(0, 1000)
limits = st.none() | st.integers(1, 1000)
costs = st.builds(Cost, rollouts=st.integers(0, 100), tokens=st.integers(0, 1000))


def make_ledger(
    *, spent_rollouts: int = 0, reserved_rollouts: int = 0, spent_tokens: int = 0, reserved_tokens: int = 0
) -> Ledger:
    """A ledger of which only the budget lines matter."""
    return dataclasses.replace(
        Ledger.from_counters({}),
        spent_rollouts=spent_rollouts,
        reserved_rollouts=reserved_rollouts,
        spent_tokens=spent_tokens,
        reserved_tokens=reserved_tokens,
    )


ledgers = st.builds(
    make_ledger, spent_rollouts=amounts, reserved_rollouts=amounts, spent_tokens=amounts, reserved_tokens=amounts
)
budgets = st.builds(Budget, rollouts=limits, tokens=limits)


@given(st.integers(0, 100), st.integers(1, 100), st.integers(0, 100))
def test_worst_cases_add_up(first: int, max_new_tokens: int, second: int) -> None:
    together = worst_case(first, max_new_tokens) + worst_case(second, max_new_tokens)
    assert together == worst_case(first + second, max_new_tokens)
    assert together == Cost(rollouts=first + second, tokens=(first + second) * max_new_tokens)


@given(budgets, ledgers, costs)
def test_what_fits_keeps_spent_and_reserved_within_both_limits(budget: Budget, ledger: Ledger, cost: Cost) -> None:
    within = [
        budget.rollouts is None or ledger.spent_rollouts + ledger.reserved_rollouts + cost.rollouts <= budget.rollouts,
        budget.tokens is None or ledger.spent_tokens + ledger.reserved_tokens + cost.tokens <= budget.tokens,
    ]
    assert budget.fits(ledger, cost) == all(within)


@given(budgets, ledgers, costs)
def test_a_cost_can_ever_fit_exactly_if_it_fits_once_all_is_refunded(
    budget: Budget, ledger: Ledger, cost: Cost
) -> None:
    refunded = dataclasses.replace(ledger, reserved_rollouts=0, reserved_tokens=0)
    assert budget.can_ever_fit(ledger, cost) == budget.fits(refunded, cost)


@given(ledgers, costs)
def test_no_limit_is_never_reached(ledger: Ledger, cost: Cost) -> None:
    assert Budget().fits(ledger, cost)
    assert Budget().can_ever_fit(ledger, cost)


def test_the_last_rollout_and_the_last_token_can_be_spent() -> None:
    budget, ledger = Budget(rollouts=10, tokens=100), make_ledger(spent_rollouts=6, spent_tokens=60)
    assert budget.fits(ledger, Cost(rollouts=4, tokens=40))
    assert not budget.fits(ledger, Cost(rollouts=5, tokens=40))
    assert not budget.fits(ledger, Cost(rollouts=4, tokens=41))


def test_a_cost_that_waits_for_a_refund_can_still_fit_later() -> None:
    budget, ledger = Budget(rollouts=10), make_ledger(spent_rollouts=2, reserved_rollouts=8)
    assert not budget.fits(ledger, Cost(rollouts=8, tokens=0))
    assert budget.can_ever_fit(ledger, Cost(rollouts=8, tokens=0))
    assert not budget.can_ever_fit(ledger, Cost(rollouts=9, tokens=0))


def test_tokens_alone_can_rule_out_another_group() -> None:
    budget, ledger = Budget(tokens=100), make_ledger(spent_tokens=61)
    assert not budget.can_ever_fit(ledger, Cost(rollouts=4, tokens=40))


@pytest.mark.parametrize(("cap", "fits"), [(None, True), (12, True), (11, False), (0, False)])
def test_evaluation_has_a_cap_of_its_own(cap: int | None, fits: bool) -> None:
    ledger = Ledger.from_counters({attempts_counter(Stage.EVAL): 4, "spent:rollouts": 1000})
    assert Budget(rollouts=1000, eval_rollouts=cap).fits_evaluation(ledger, 8) is fits


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"rollouts": 0}, "budget.rollouts"),
        ({"rollouts": -5}, "budget.rollouts"),
        ({"tokens": 0}, "budget.tokens"),
        ({"wall_clock_s": 0.5}, "budget.wall_clock_s"),
        ({"eval_rollouts": -1}, "budget.eval_rollouts"),
    ],
)
def test_a_budget_that_allows_nothing_is_refused_by_name(limits: dict[str, int], field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        Budget(**limits)
    assert refusal.value.field == field


def test_a_budget_may_forbid_evaluation() -> None:
    assert Budget(eval_rollouts=0).eval_rollouts == 0


def test_a_raised_budget_has_the_new_limits_and_keeps_the_others() -> None:
    budget = Budget(rollouts=10, tokens=100, wall_clock_s=60.0)
    assert budget.raised(Budget(rollouts=20, wall_clock_s=60.0)) == Budget(rollouts=20, tokens=100, wall_clock_s=60.0)


@pytest.mark.parametrize(
    ("now", "to", "field", "why"),
    [
        (Budget(rollouts=10), Budget(rollouts=9), "rollouts", "9 is below 10"),
        (Budget(tokens=1000), Budget(tokens=999), "tokens", "999 is below 1,000"),
        (Budget(wall_clock_s=9.5), Budget(wall_clock_s=9.0), "wall_clock_s", "9.0 is below 9.5"),
        (Budget(), Budget(eval_rollouts=5), "eval_rollouts", "unlimited now"),
    ],
)
def test_a_budget_is_never_lowered(now: Budget, to: Budget, field: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as refusal:
        now.raised(to)
    assert refusal.value.field == field
