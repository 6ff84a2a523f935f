"""GRESO (arXiv 2506.02177, sections 4 and 5, and its release)."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.allocators.greso import Greso, TraceReason
from scheduler.core.allocators.interface import Allocator, Candidate, Experience, PassedOver
from scheduler.core.errors import InvalidInput
from scheduler.core.types import Verdict
from tests.scheduler.core.factories import make_demand, make_evidence

RULE = Greso(pilots=2, commits=6)
HISTORIES = st.lists(st.sampled_from([Verdict.SKIP, Verdict.DEFER, Verdict.COMMIT]), max_size=4).map(tuple)


def make_traced(prompt_id: str, *verdicts: Verdict) -> Candidate:
    """A candidate whose visits ended with these verdicts."""
    return Candidate(prompt_id=prompt_id, evidence=make_evidence(verdicts=verdicts))


def test_the_defaults_are_the_papers() -> None:
    """Half explored at first, steps of 1 %, 25 % zero variance split 1:2; floor and bounds as in the release."""
    rule: Allocator = RULE
    assert (rule.name, rule.largest_group, rule.round_batches, rule.discards_surplus) == ("greso", 8, None, False)
    assert (RULE.p_easy, RULE.p_hard, RULE.step, RULE.floor) == (0.5, 0.5, 0.01, 0.01)
    assert (RULE.least_p, RULE.most_p) == (0.05, 0.95)
    assert RULE.target_easy + RULE.target_hard == pytest.approx(0.25)
    assert RULE.target_hard == pytest.approx(2 * RULE.target_easy)


@pytest.mark.parametrize(
    ("verdicts", "claimed"),
    [
        ((), 1.0),
        ((Verdict.COMMIT,), 1.0),
        ((Verdict.SKIP, Verdict.SKIP, Verdict.COMMIT), 1.0),
        ((Verdict.SKIP,), 0.5),
        ((Verdict.SKIP,) * 3, 0.125),
        ((Verdict.SKIP,) * 6, 0.015625),
        ((Verdict.SKIP,) * 7, 0.01),
        ((Verdict.SKIP,) * 70, 0.01),
        ((Verdict.DEFER,), 0.8),
        ((Verdict.DEFER,) * 2, 0.64),
        ((Verdict.SKIP, Verdict.SKIP, Verdict.DEFER), 0.8),
        ((Verdict.COMMIT, Verdict.DEFER, Verdict.SKIP), 0.5),
    ],
)
def test_a_prompt_is_passed_over_with_one_less_p_to_the_length_of_its_trace_down_to_a_floor(
    verdicts: tuple[Verdict, ...], claimed: float
) -> None:
    rule = Greso(pilots=2, commits=6, p_hard=0.8)
    assert rule.exploration(make_evidence(verdicts=verdicts)) == pytest.approx(claimed)


def test_passed_over_prompts_are_as_many_as_the_trace_says() -> None:
    candidates = [make_traced(f"p{index}", Verdict.SKIP, Verdict.SKIP) for index in range(4000)]
    ranking = RULE.rank(candidates, make_demand(prompts=4000), np.random.default_rng(0))
    assert len(ranking.claim) / 4000 == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 4000))


def test_a_prompt_passed_over_keeps_the_verdict_of_its_trace() -> None:
    candidates = [
        make_traced("new"),
        make_traced("easy", *(Verdict.SKIP,) * 50),
        make_traced("hard", *(Verdict.DEFER,) * 50),
    ]
    ranking = RULE.rank(candidates, make_demand(prompts=3), np.random.default_rng(1))
    assert ranking.claim == ("new",)
    assert set(ranking.passed_over) == {
        PassedOver(prompt_id="easy", verdict=Verdict.SKIP, reason=TraceReason.EASY_LATELY),
        PassedOver(prompt_id="hard", verdict=Verdict.DEFER, reason=TraceReason.HARD_LATELY),
    }


def test_where_all_would_be_passed_over_none_is() -> None:
    candidates = [make_traced(f"p{index}", *(Verdict.SKIP,) * 50) for index in range(4)]
    ranking = RULE.rank(candidates, make_demand(prompts=2), np.random.default_rng(0))
    assert len(ranking.claim) == 2
    assert ranking.passed_over == ()


@given(st.lists(HISTORIES, max_size=12), st.integers(-1, 14), st.integers(0, 2**32 - 1))
def test_no_prompt_is_claimed_twice_beyond_demand_or_passed_over_as_well(
    histories: list[tuple[Verdict, ...]], wanted: int, seed: int
) -> None:
    candidates = [make_traced(f"p{index}", *verdicts) for index, verdicts in enumerate(histories)]
    ranking = RULE.rank(candidates, make_demand(prompts=wanted), np.random.default_rng(seed))
    passed = [passed.prompt_id for passed in ranking.passed_over]
    assert len(ranking.claim) <= max(0, wanted)
    assert len({*ranking.claim, *passed}) == len(ranking.claim) + len(passed)
    assert {*ranking.claim, *passed} <= {candidate.prompt_id for candidate in candidates}
    assert all(make_evidence(verdicts=histories[int(prompt_id[1:])]).streak for prompt_id in passed)


def test_prompts_beyond_what_is_wanted_are_not_judged() -> None:
    candidates = [make_traced("new"), make_traced("old", *(Verdict.SKIP,) * 50)]
    ranking = RULE.rank(candidates, make_demand(prompts=1), np.random.default_rng(0))
    assert (ranking.claim, ranking.passed_over) == (("new",), ())


@pytest.mark.parametrize(
    ("skipped", "deferred", "committed", "p_easy", "p_hard"),
    [
        (1, 2, 9, 0.49, 0.49),  # 1/12 and 2/12: exactly the targets
        (0, 0, 12, 0.51, 0.51),
        (6, 1, 5, 0.49, 0.51),
        (0, 6, 6, 0.51, 0.49),
    ],
)
def test_the_base_probabilities_follow_the_shares_of_zero_variance(
    skipped: int, deferred: int, committed: int, p_easy: float, p_hard: float
) -> None:
    visits = {Verdict.SKIP: skipped, Verdict.DEFER: deferred, Verdict.COMMIT: committed}
    adapted = RULE.adapted(Experience(step=1, epoch=0, visits=visits))
    assert (adapted.p_easy, adapted.p_hard) == pytest.approx((p_easy, p_hard))
    assert (adapted.largest_group, adapted.step) == (RULE.largest_group, RULE.step)


def test_the_base_probabilities_stay_within_their_bounds() -> None:
    rule = RULE
    for step in range(100):
        rule = rule.adapted(Experience(step=step, epoch=0, visits={Verdict.SKIP: 8}))
    assert (rule.p_easy, rule.p_hard) == (0.05, 0.95)


def test_no_visits_change_nothing() -> None:
    assert RULE.adapted(Experience(step=1, epoch=0)) is RULE


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"floor": 0.0}, "parameters.floor"),
        ({"target_easy": -0.1}, "parameters.target_easy"),
        ({"target_hard": 1.1}, "parameters.target_hard"),
        ({"step": math.nan}, "parameters.step"),
        ({"p_easy": 0.01}, "parameters.p_easy"),
        ({"p_hard": 0.99}, "parameters.p_hard"),
        ({"least_p": -1.0}, "parameters.p_easy"),
        ({"most_p": 1.5}, "parameters.p_easy"),
    ],
)
def test_a_rule_that_makes_no_sense_cannot_be_built(parameters: dict[str, float], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Greso(pilots=2, commits=6, **parameters)
    assert caught.value.field == field
