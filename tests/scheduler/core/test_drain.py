"""When a run stops claiming."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.drain import Situation, why_drain
from scheduler.core.lifecycle import RunState

GOING_ON = Situation(
    step=3,
    max_steps=10,
    elapsed_s=60.0,
    wall_clock_s=600.0,
    largest_claim_fits=True,
    claim_waits_for_budget=False,
    nothing_to_claim=False,
    num_visits=4,
)
situations = st.builds(
    Situation,
    step=st.integers(0, 4),
    max_steps=st.none() | st.integers(1, 4),
    elapsed_s=st.floats(0, 20),
    wall_clock_s=st.none() | st.floats(1, 20),
    largest_claim_fits=st.booleans(),
    claim_waits_for_budget=st.booleans(),
    nothing_to_claim=st.booleans(),
    num_visits=st.integers(0, 2),
)


def end(**changes: bool | float | int | None) -> tuple[RunState, str] | None:
    """How a run ends that differs so from one that goes on."""
    drain = why_drain(dataclasses.replace(GOING_ON, **changes))  # type: ignore[arg-type]  # the caller names the fields
    return None if drain is None else (drain.end, drain.reason)


def test_a_run_with_work_and_money_goes_on() -> None:
    assert end() is None


def test_a_run_without_limits_goes_on() -> None:
    assert end(max_steps=None, wall_clock_s=None, step=10**6, elapsed_s=1e9) is None


@pytest.mark.parametrize("step", [10, 11])
def test_a_run_finishes_after_its_last_step(step: int) -> None:
    assert end(step=step) == (RunState.FINISHED, "all 10 steps are done")


@pytest.mark.parametrize("elapsed_s", [600.0, 601.0])
def test_a_run_is_exhausted_when_its_time_is_up(elapsed_s: float) -> None:
    assert end(elapsed_s=elapsed_s) == (RunState.EXHAUSTED, "the wall-clock budget of 600 s is used up")


@pytest.mark.parametrize("num_visits", [0, 4])
def test_a_run_is_exhausted_as_soon_as_no_refund_could_fund_a_group(num_visits: int) -> None:
    expected = (RunState.EXHAUSTED, "what is left of the budget cannot fund another group")
    assert end(largest_claim_fits=False, num_visits=num_visits) == expected


def test_a_claim_that_does_not_fit_waits_for_the_refunds_of_open_visits() -> None:
    assert end(claim_waits_for_budget=True) is None
    expected = (RunState.EXHAUSTED, "what is left of the budget cannot fund another group")
    assert end(claim_waits_for_budget=True, num_visits=0) == expected


def test_a_pool_without_claimable_prompts_waits_for_the_open_visits_to_bring_some_back() -> None:
    assert end(nothing_to_claim=True) is None
    assert end(nothing_to_claim=True, num_visits=0) == (RunState.FINISHED, "no prompt is left to claim")


def test_finished_steps_win_over_an_exhausted_budget() -> None:
    drain = end(step=10, elapsed_s=600.0, largest_claim_fits=False)
    assert drain is not None
    assert drain[0] is RunState.FINISHED


@given(situations)
def test_a_run_ends_finished_or_exhausted_and_says_why(situation: Situation) -> None:
    drain = why_drain(situation)
    assert drain is None or (drain.end in {RunState.FINISHED, RunState.EXHAUSTED} and drain.reason)


@given(situations)
def test_open_visits_only_ever_put_the_end_off(situation: Situation) -> None:
    with_visits = why_drain(dataclasses.replace(situation, num_visits=1))
    assert with_visits is None or with_visits == why_drain(dataclasses.replace(situation, num_visits=0))
