"""The failure-rate breaker: when it opens, and that it always tries again."""

import dataclasses
import random

import pytest

from scheduler.core.breaker import (
    Breaker,
    BreakerLimits,
    BreakerState,
    FailureClass,
    FailureWindow,
    trips_counter,
)
from scheduler.core.errors import InvalidInput

LIMITS = BreakerLimits(window=10, max_lost_rate=0.5, max_failed_rate=0.25, pause_s=1.0, max_pause_s=5.0, trial_claims=2)
CLOSED = Breaker(limits=LIMITS)


def tripped(now: float = 0.0) -> Breaker:
    """A breaker that losses have just opened."""
    return CLOSED.observed(good=0, failed=0, lost=10, now=now)


def test_a_window_remembers_the_last_attempts_and_no_more() -> None:
    window, rng, outcomes = FailureWindow(), random.Random(1), []
    for _ in range(200):
        good, bad = rng.randrange(4), rng.randrange(4)
        outcomes += [False] * good + [True] * bad
        window = window.observed(good=good, bad=bad, size=7)
        assert (window.seen, window.num_failed) == (len(outcomes[-7:]), sum(outcomes[-7:]))


def test_a_rate_is_judged_over_a_full_window_only() -> None:
    almost = CLOSED.observed(good=0, failed=0, lost=9, now=0.0)
    assert almost.state is BreakerState.CLOSED
    assert almost.observed(good=0, failed=0, lost=1, now=0.0).state is BreakerState.OPEN


def test_it_opens_above_the_bound_and_not_at_it() -> None:
    at_it = CLOSED.observed(good=5, failed=0, lost=5, now=0.0)
    assert at_it.state is BreakerState.CLOSED
    above = at_it.observed(good=0, failed=0, lost=1, now=0.0)
    assert above.state is BreakerState.OPEN
    assert above.reason == "6 of the last 10 attempts were lost"


def test_a_bound_of_one_never_trips() -> None:
    never = Breaker(limits=dataclasses.replace(LIMITS, max_lost_rate=1.0, max_failed_rate=1.0))
    assert never.observed(good=0, failed=0, lost=100, now=0.0).state is BreakerState.CLOSED
    assert never.observed(good=0, failed=100, lost=0, now=0.0).state is BreakerState.CLOSED


def test_the_classes_are_judged_apart() -> None:
    data = CLOSED.observed(good=7, failed=3, lost=0, now=0.0)
    assert data.tripped_by is FailureClass.DATA
    assert data.reason == "3 of the last 10 attempts that came back failed"
    # Lost attempts never came back: they say nothing of rewards.
    assert CLOSED.observed(good=6, failed=2, lost=2, now=0.0).state is BreakerState.CLOSED
    assert CLOSED.observed(good=0, failed=4, lost=6, now=0.0).tripped_by is FailureClass.INFRASTRUCTURE


def test_nothing_is_claimed_while_it_is_open_whatever_comes_back() -> None:
    breaker = tripped()
    for _ in range(5):
        breaker = breaker.observed(good=10, failed=0, lost=0, now=0.5)
        assert breaker.at(0.999).claims(8, 0) == 0


def test_after_its_pause_a_few_claims_are_tried_beside_what_pilots_already() -> None:
    trying = tripped().at(1.0)
    assert trying.state is BreakerState.HALF_OPEN
    assert [trying.claims(8, piloting) for piloting in range(4)] == [2, 1, 0, 0]
    assert trying.claims(1, 0) == 1
    assert CLOSED.claims(8, 100) == 8


def test_a_trial_that_goes_well_closes_it_and_the_past_is_forgotten() -> None:
    trying = tripped().at(1.0)
    undecided = trying.observed(good=1, failed=0, lost=0, now=1.0)
    assert undecided.state is BreakerState.HALF_OPEN
    assert undecided.observed(good=1, failed=0, lost=0, now=1.0) == CLOSED


def test_a_trial_that_fails_doubles_the_pause_up_to_the_longest() -> None:
    breaker, now, pauses = tripped(), 0.0, []
    for _ in range(40):
        pauses.append(breaker.open_until - now)
        now = breaker.open_until
        breaker = breaker.at(now).observed(good=0, failed=0, lost=2, now=now)
        assert breaker.state is BreakerState.OPEN
    assert pauses[:5] == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert set(pauses[4:]) == {5.0}


def test_a_trial_for_rewards_is_not_won_by_attempts_that_never_came_back() -> None:
    trying = CLOSED.observed(good=0, failed=10, lost=0, now=0.0).at(1.0)
    lost = trying.observed(good=0, failed=0, lost=8, now=1.0)
    assert (lost.state, lost.tripped_by) == (BreakerState.OPEN, FailureClass.INFRASTRUCTURE)
    some = trying.observed(good=1, failed=0, lost=1, now=1.0)
    assert some.state is BreakerState.HALF_OPEN
    assert some.observed(good=1, failed=0, lost=0, now=1.0) == CLOSED


def test_each_class_has_a_counter_of_its_own() -> None:
    assert len({trips_counter(failure) for failure in FailureClass}) == 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"trial_claims": 0}, "breaker.trial_claims"),
        ({"window": 1}, "breaker.window"),
        ({"max_lost_rate": 0.0}, "breaker.max_lost_rate"),
        ({"max_failed_rate": 1.1}, "breaker.max_failed_rate"),
        ({"pause_s": 0.0}, "breaker.pause_s"),
        ({"max_pause_s": 0.5}, "breaker.max_pause_s"),
    ],
)
def test_limits_that_make_no_sense_are_refused_by_name(changes: dict[str, float], field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        dataclasses.replace(LIMITS, **changes)  # type: ignore[arg-type]  # the table names the fields
    assert refusal.value.field == field
