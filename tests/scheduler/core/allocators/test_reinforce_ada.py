"""Reinforce-Ada-Seq (arXiv 2510.04996, section 3.2, algorithm 2): M = 16, K_pos = K_neg = 8, at most 128."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.allocators.agreement import AgreementReason
from scheduler.core.allocators.interface import Allocator, Commit, Decision, More, Settle
from scheduler.core.allocators.reinforce_ada import ReinforceAda
from scheduler.core.errors import InvalidInput
from scheduler.core.types import Rollout, Verdict
from tests.factories import make_rollout
from tests.scheduler.core.factories import make_evidence, make_rollouts

BALANCED = ReinforceAda(pilots=16, commits=112)
POSITIVE = ReinforceAda(pilots=16, commits=112, positives=16, negatives=0)


def decide(rule: ReinforceAda, right: int, wrong: int) -> Decision:
    """The rule's answer to so many right and wrong rollouts."""
    return rule.decide(make_evidence(), make_rollouts(right, right + wrong))


def test_a_visit_opens_with_a_round_and_may_go_on_to_the_cap() -> None:
    rule: Allocator = BALANCED
    assert (rule.name, rule.largest_group) == ("reinforce_ada", 128)
    assert (rule.round_batches, rule.discards_surplus) == (None, False)
    assert rule.decide(make_evidence(), ()) == More(count=16)


@pytest.mark.parametrize("right", range(17))
def test_after_one_round_only_eight_of_each_are_enough(right: int) -> None:
    assert decide(BALANCED, right, 16 - right) == (Commit(count=0) if right == 8 else More(count=16))


@pytest.mark.parametrize("right", range(65))
def test_after_four_rounds_eight_of_each_are_enough(right: int) -> None:
    assert decide(BALANCED, right, 64 - right) == (Commit(count=0) if 8 <= right <= 56 else More(count=16))


@pytest.mark.parametrize("right", range(129))
def test_at_the_cap_any_mix_is_trained_and_agreement_is_settled(right: int) -> None:
    decision = decide(BALANCED, right, 128 - right)
    if 0 < right < 128:
        assert decision == Commit(count=0)
    elif right:
        assert decision == Settle(verdict=Verdict.SKIP, reason=AgreementReason.ALL_RIGHT, revisit_after=0)
    else:
        assert decision == Settle(verdict=Verdict.DEFER, reason=AgreementReason.ALL_WRONG, revisit_after=0)


@pytest.mark.parametrize(
    ("right", "wrong", "decision"),
    [
        (15, 1, More(count=16)),
        (15, 17, More(count=16)),
        (16, 16, Commit(count=0)),
        (16, 0, Settle(verdict=Verdict.SKIP, reason=AgreementReason.ALL_RIGHT, revisit_after=0)),
        (1, 127, Commit(count=0)),
    ],
)
def test_the_positive_focused_variant_asks_only_for_right_answers(right: int, wrong: int, decision: Decision) -> None:
    assert decide(POSITIVE, right, wrong) == decision


def test_a_round_cut_short_is_completed_before_it_is_looked_at() -> None:
    assert decide(BALANCED, 10, 10) == More(count=12)


def test_the_cap_cuts_the_last_round_short() -> None:
    rule = ReinforceAda(pilots=4, commits=6)
    assert decide(rule, 8, 0) == More(count=2)
    assert decide(rule, 9, 1) == Commit(count=0)


def test_enough_is_about_correctness_not_the_shaped_reward() -> None:
    rollouts = [make_rollout(reward=-1.0, correct=index < 8) for index in range(16)]
    assert BALANCED.decide(make_evidence(), rollouts) == Commit(count=0)


def total(rule: ReinforceAda, outcomes: tuple[bool, ...]) -> int:
    """Rollouts that a visit to a prompt with these outcomes asks for."""
    rollouts: tuple[Rollout, ...] = ()
    while isinstance(decision := rule.decide(make_evidence(), rollouts), More):
        have = len(rollouts)
        rollouts += tuple(make_rollout(reward=float(right)) for right in outcomes[have : have + decision.count])
    return len(rollouts)


def test_a_visit_stops_at_the_first_round_that_resolves_it() -> None:
    """Every run of outcomes of three rounds of two, with one of each enough."""
    rule = ReinforceAda(pilots=2, commits=4)
    for outcomes in product((False, True), repeat=6):
        resolved = [size for size in (2, 4) if 0 < sum(outcomes[:size]) < size]
        assert total(rule, outcomes) == (resolved or [6])[0]


@given(st.integers(1, 6), st.integers(0, 12), st.lists(st.booleans(), min_size=18, max_size=18).map(tuple))
def test_a_visit_never_asks_for_more_than_the_cap(pilots: int, commits: int, outcomes: tuple[bool, ...]) -> None:
    rule = ReinforceAda(pilots=pilots, commits=max(commits, 2 - pilots), positives=1, negatives=1)
    asked = total(rule, outcomes)
    assert asked <= rule.largest_group
    assert asked == rule.largest_group or asked % pilots == 0


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: ReinforceAda(pilots=0, commits=8), "pilots"),
        (lambda: ReinforceAda(pilots=4, commits=-1), "commits"),
        (lambda: ReinforceAda(pilots=1, commits=0), "commits"),
        (lambda: ReinforceAda(pilots=4, commits=4, positives=-1), "parameters.positives"),
        (lambda: ReinforceAda(pilots=4, commits=4, negatives=-1), "parameters.negatives"),
        (lambda: ReinforceAda(pilots=4, commits=4, positives=5, negatives=4), "parameters"),
    ],
)
def test_a_rule_that_makes_no_sense_cannot_be_built(build: object, field: str) -> None:
    assert callable(build)
    with pytest.raises(InvalidInput) as caught:
        build()
    assert caught.value.field == field
