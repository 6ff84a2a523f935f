"""SPEED-RL (arXiv 2506.09016, section 4): N_init = 4 screening rollouts, N_cont = 20 more for those that pass."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.allocators.interface import Allocator, Commit, Decision, More, Settle
from scheduler.core.allocators.speed_rl import ScreeningReason, SpeedRl
from scheduler.core.errors import InvalidInput
from scheduler.core.types import Stage, Verdict
from tests.factories import make_rollout
from tests.scheduler.core.factories import make_evidence, make_rollouts

RULE = SpeedRl(pilots=4, commits=20)
EASY = Settle(verdict=Verdict.SKIP, reason=ScreeningReason.TOO_EASY, revisit_after=0)
HARD = Settle(verdict=Verdict.DEFER, reason=ScreeningReason.TOO_HARD, revisit_after=0)


def test_every_prompt_is_screened_on_demand_and_nothing_is_discarded() -> None:
    rule: Allocator = RULE
    assert (rule.name, rule.largest_group) == ("speed_rl", 24)
    assert (rule.round_batches, rule.discards_surplus) == (None, False)
    assert rule.decide(make_evidence(), ()) == More(count=4)


@pytest.mark.parametrize(
    ("correct", "decision"), [(0, HARD), (1, Commit(count=20)), (2, Commit(count=20)), (3, Commit(count=20)), (4, EASY)]
)
def test_four_screening_rollouts_pass_unless_they_agree(correct: int, decision: Decision) -> None:
    assert RULE.decide(make_evidence(), make_rollouts(correct, 4)) == decision


@pytest.mark.parametrize(("p", "passes"), [(0.05, 0.1855), (0.5, 0.875), (0.9, 0.3438)])
def test_the_chance_to_pass_is_that_four_rollouts_disagree(p: float, passes: float) -> None:
    mass = math.fsum(
        math.comb(4, k) * p**k * (1 - p) ** (4 - k)
        for k in range(5)
        if isinstance(RULE.decide(make_evidence(), make_rollouts(k, 4)), Commit)
    )
    assert mass == pytest.approx(1 - p**4 - (1 - p) ** 4)
    assert mass == pytest.approx(passes, abs=5e-5)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=2, unique=True), st.integers(2, 16), st.data())
def test_a_prompt_passes_exactly_between_the_limits(limits: list[float], pilots: int, data: st.DataObject) -> None:
    low, high = sorted(limits)
    rule = SpeedRl(pilots=pilots, commits=8, p_low=low, p_high=high)
    correct = data.draw(st.integers(0, pilots))
    decision = rule.decide(make_evidence(), make_rollouts(correct, pilots))
    meanings: dict[bool, Decision] = {
        low < correct / pilots < high: Commit(count=8),
        correct / pilots >= high: EASY,
        correct / pilots <= low: HARD,
    }
    assert decision == meanings[True]


@pytest.mark.parametrize(("have", "lacks"), [(0, 20), (5, 15), (20, 0), (22, 0)])
def test_screening_rollouts_are_reused_and_commits_never_change_the_verdict(have: int, lacks: int) -> None:
    rollouts = [*make_rollouts(1, 4), *make_rollouts(0, have, Stage.COMMIT)]
    assert RULE.decide(make_evidence(), rollouts) == Commit(count=lacks)


def test_missing_screening_rollouts_are_asked_for_again() -> None:
    assert RULE.decide(make_evidence(), make_rollouts(1, 3)) == More(count=1)


def test_screening_is_about_correctness_not_the_shaped_reward() -> None:
    pilots = [make_rollout(reward=reward, correct=True) for reward in (1.0, 0.4, 0.2, 0.0)]
    assert RULE.decide(make_evidence(), pilots) == EASY


def test_no_prompt_is_evicted_however_often_it_was_solved() -> None:
    assert RULE.decide(make_evidence(verdicts=(Verdict.SKIP,) * 9), make_rollouts(4, 4)) == EASY


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: SpeedRl(pilots=1, commits=8), "pilots"),
        (lambda: SpeedRl(pilots=4, commits=0), "commits"),
        (lambda: SpeedRl(pilots=4, commits=8, p_low=0.5, p_high=0.5), "parameters"),
        (lambda: SpeedRl(pilots=4, commits=8, p_low=-0.1), "parameters"),
        (lambda: SpeedRl(pilots=4, commits=8, p_high=math.nan), "parameters"),
    ],
)
def test_a_rule_that_makes_no_sense_cannot_be_built(build: object, field: str) -> None:
    assert callable(build)
    with pytest.raises(InvalidInput) as caught:
        build()
    assert caught.value.field == field
