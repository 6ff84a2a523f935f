"""Pilot-Commit as released."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.allocators.interface import Allocator, Commit, Experience, More, Ranking, Selection, Settle
from scheduler.core.allocators.pilot_commit import PilotCommit, PilotReason
from scheduler.core.errors import InvalidInput
from scheduler.core.types import Stage, Verdict
from tests.factories import make_rollout
from tests.scheduler.core.factories import (
    make_candidate,
    make_demand,
    make_evidence,
    make_ready_group,
    make_rollouts,
)

RULE = PilotCommit(pilots=16, commits=48)
P = (0.02, 0.05, 0.08, 0.10, 0.125, 0.15, 0.20, 0.30, 0.50, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95)
P_COMMIT = (0.040, 0.189, 0.370, 0.485, 0.612, 0.716, 0.859, 0.974, 0.989, 0.754, 0.595, 0.402, 0.210, 0.068, 0.007)
PILOT_MEAN = (0.131, 0.142, 0.154, 0.164, 0.177, 0.191, 0.225, 0.307, 0.497, 0.653, 0.679, 0.700, 0.717, 0.731, 0.742)


def commits(rule: PilotCommit, correct: int) -> bool:
    """Whether the rule commits a prompt with so many right pilots."""
    return isinstance(rule.decide(make_evidence(), make_rollouts(correct, rule.pilots)), Commit)


@st.composite
def rules(draw: st.DrawFn) -> PilotCommit:
    lower, upper, solve = sorted(draw(st.tuples(*[st.floats(0, 1)] * 3)))
    return PilotCommit(pilots=draw(st.integers(1, 24)), commits=8, p_lower=lower, p_upper=upper, p_solve=solve)


@given(rules(), st.data())
def test_verdicts_are_exclusive_and_total(rule: PilotCommit, data: st.DataObject) -> None:
    rate = data.draw(st.integers(0, rule.pilots)) / rule.pilots
    meanings = {
        Verdict.EVICT: rate >= rule.p_solve,
        Verdict.SKIP: rule.p_upper < rate < rule.p_solve,
        Verdict.DEFER: rate < rule.p_lower and rate < rule.p_solve,
        Verdict.COMMIT: rule.p_lower <= rate <= rule.p_upper and rate < rule.p_solve,
    }
    assert [verdict for verdict, holds in meanings.items() if holds] == [rule.verdict(rate)]


@given(rules(), st.data())
def test_the_decision_on_full_pilots_carries_their_verdict(rule: PilotCommit, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, rule.pilots))
    decision = rule.decide(make_evidence(), make_rollouts(correct, rule.pilots))
    verdict = rule.verdict(correct / rule.pilots)
    if verdict is Verdict.COMMIT:
        assert decision == Commit(count=rule.commits)
    else:
        assert isinstance(decision, Settle)
        assert decision.verdict is verdict


def test_sixteen_pilots_commit_from_two_to_twelve_right() -> None:
    assert [correct for correct in range(17) if commits(RULE, correct)] == list(range(2, 13))


@pytest.mark.parametrize(("p", "committed", "mean"), list(zip(P, P_COMMIT, PILOT_MEAN, strict=True)))
def test_the_chance_of_a_commit_is_the_binomial_mass_of_the_band(p: float, committed: float, mean: float) -> None:
    band = {k: math.comb(16, k) * p**k * (1 - p) ** (16 - k) for k in range(17) if commits(RULE, k)}
    mass = math.fsum(band.values())
    assert mass == pytest.approx(committed, abs=5.1e-4)
    assert math.fsum(k / 16 * chance for k, chance in band.items()) / mass == pytest.approx(mean, abs=5.1e-4)


def test_a_visit_opens_with_its_pilots() -> None:
    rule: Allocator = RULE
    assert (rule.name, rule.largest_group) == ("pilot_commit", 64)
    assert rule.decide(make_evidence(), ()) == More(count=16)


def test_missing_pilots_are_asked_for_again() -> None:
    assert RULE.decide(make_evidence(), make_rollouts(1, 13)) == More(count=3)


def test_verdicts_are_about_correctness_not_the_shaped_reward() -> None:
    pilots = [make_rollout(reward=-0.5, correct=index < 8) for index in range(16)]
    assert RULE.decide(make_evidence(), pilots) == Commit(count=48)


@pytest.mark.parametrize(("have", "lacks"), [(0, 48), (40, 8), (48, 0), (50, 0)])
def test_commits_complete_the_group_and_never_change_its_verdict(have: int, lacks: int) -> None:
    rollouts = [*make_rollouts(8, 16), *make_rollouts(have, have, Stage.COMMIT)]
    assert RULE.decide(make_evidence(), rollouts) == Commit(count=lacks)


def test_a_prompt_that_is_too_easy_returns_in_normal_order() -> None:
    assert RULE.decide(make_evidence(), make_rollouts(13, 16)) == Settle(
        verdict=Verdict.SKIP, reason=PilotReason.TOO_EASY, revisit_after=0
    )


def test_the_defaults_are_the_release() -> None:
    """Paper section 3 and the released settings: rounds of 3 B, back in the next epoch, solved prompts out for good."""
    assert (RULE.round_batches, RULE.discards_surplus) == (3, False)
    assert (RULE.p_solve, RULE.p_upper, RULE.p_lower) == (1.0, 0.75, 0.125)
    returns = [
        decision.revisit_after
        for correct in (1, 13, 16)
        if isinstance(decision := RULE.decide(make_evidence(), make_rollouts(correct, 16)), Settle)
    ]
    assert returns == [0, 0, None]


@pytest.mark.parametrize("rounds", [None, 1, 5])
def test_rounds_are_as_large_as_asked_or_there_are_none(rounds: int | None) -> None:
    assert PilotCommit(pilots=16, commits=48, rounds=rounds).round_batches == rounds


def test_a_prompt_that_is_too_hard_may_wait_for_a_number_of_versions() -> None:
    rule = PilotCommit(pilots=16, commits=48, defer_for=5)
    assert rule.decide(make_evidence(), make_rollouts(1, 16)) == Settle(
        verdict=Verdict.DEFER, reason=PilotReason.TOO_HARD, revisit_after=5
    )


@pytest.mark.parametrize(
    ("history", "interval"),
    [
        ((), 10),
        ((Verdict.EVICT,), 20),
        ((Verdict.EVICT,) * 3, 80),
        ((Verdict.EVICT,) * 6, 640),
        ((Verdict.EVICT,) * 60, 640),
        ((Verdict.SKIP,) * 3, 10),
        ((Verdict.EVICT, Verdict.COMMIT), 10),
    ],
)
def test_a_solved_prompt_returns_after_an_interval_that_grows_to_a_floor_rate(
    history: tuple[Verdict, ...], interval: int
) -> None:
    rule = PilotCommit(pilots=16, commits=48, evict_for=10)
    assert rule.decide(make_evidence(verdicts=history), make_rollouts(16, 16)) == Settle(
        verdict=Verdict.EVICT, reason=PilotReason.SOLVED, revisit_after=interval
    )


def test_repeated_evictions_are_for_good_too() -> None:
    assert RULE.decide(make_evidence(verdicts=(Verdict.EVICT,) * 3), make_rollouts(16, 16)) == Settle(
        verdict=Verdict.EVICT, reason=PilotReason.SOLVED, revisit_after=None
    )


def test_no_prompt_is_passed_over_unseen() -> None:
    candidates = [make_candidate("seen", visits=2), make_candidate("new")]
    ranking = RULE.rank(candidates, make_demand(prompts=1), np.random.default_rng(0))
    assert ranking == Ranking(claim=("new",), passed_over=())


def test_a_batch_takes_the_oldest_and_discards_nothing() -> None:
    old, new = make_ready_group("old", oldest_version=1), make_ready_group("new", oldest_version=2)
    assert RULE.select([new, old], [], need=1) == Selection(batch=("old",), surplus=())


def test_experience_changes_nothing() -> None:
    assert RULE.adapted(Experience(step=3, epoch=1)) == RULE


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: PilotCommit(pilots=0, commits=8), "pilots"),
        (lambda: PilotCommit(pilots=8, commits=0), "commits"),
        (lambda: PilotCommit(pilots=8, commits=8, p_lower=0.8), "parameters"),
        (lambda: PilotCommit(pilots=8, commits=8, p_lower=-0.1), "parameters"),
        (lambda: PilotCommit(pilots=8, commits=8, p_solve=1.1), "parameters"),
        (lambda: PilotCommit(pilots=8, commits=8, p_upper=math.nan), "parameters"),
        (lambda: PilotCommit(pilots=8, commits=8, rounds=0), "parameters.rounds"),
        (lambda: PilotCommit(pilots=8, commits=8, defer_for=-1), "parameters.defer_for"),
        (lambda: PilotCommit(pilots=8, commits=8, evict_for=-1), "parameters.evict_for"),
    ],
)
def test_a_rule_that_makes_no_sense_cannot_be_built(build: object, field: str) -> None:
    assert callable(build)
    with pytest.raises(InvalidInput) as caught:
        build()
    assert caught.value.field == field
