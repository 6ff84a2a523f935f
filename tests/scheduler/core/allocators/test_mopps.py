"""MoPPS (arXiv 2507.04632, section 3)."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.allocators.interface import Allocator, Candidate, Commit
from scheduler.core.allocators.mopps import DrawReason, Mopps
from scheduler.core.errors import InvalidInput
from scheduler.core.informativeness import Belief
from scheduler.core.types import Stage, Verdict
from tests.scheduler.core.factories import make_demand, make_evidence, make_rollouts

RULE = Mopps(pilots=2, commits=6)


def make_believed(prompt_id: str, a: float, b: float) -> Candidate:
    """A candidate of which Beta(a, b) is believed."""
    return Candidate(prompt_id=prompt_id, evidence=replace(make_evidence(), belief=Belief(a=a, b=b, version=0)))


def test_every_claimed_prompt_gets_a_whole_group_that_is_trained_whatever_it_shows() -> None:
    rule: Allocator = RULE
    assert (rule.name, rule.largest_group, rule.round_batches, rule.discards_surplus) == ("mopps", 8, None, False)
    assert rule.decide(make_evidence(), ()) == Commit(count=8)
    for correct in range(9):
        assert rule.decide(make_evidence(), make_rollouts(correct, 8, Stage.COMMIT)) == Commit(count=0)


@pytest.mark.parametrize(("have", "lacks"), [(3, 5), (9, 0)])
def test_a_resumed_group_is_only_completed(have: int, lacks: int) -> None:
    assert RULE.decide(make_evidence(), make_rollouts(0, have, Stage.COMMIT)) == Commit(count=lacks)


def test_the_candidates_nearest_the_target_are_claimed_and_the_others_passed_over_on_their_side_of_it() -> None:
    """Beliefs so sharp that a draw from them is their mean."""
    means = {"solved": 0.99, "easy": 0.8, "half": 0.51, "hard": 0.3, "hopeless": 0.01}
    candidates = [make_believed(name, 1e6 * mean, 1e6 * (1 - mean)) for name, mean in means.items()]
    ranking = RULE.rank(candidates, make_demand(prompts=2), np.random.default_rng(0))
    assert ranking.claim == ("half", "hard")
    assert {passed.prompt_id: (passed.verdict, passed.reason) for passed in ranking.passed_over} == {
        "easy": (Verdict.SKIP, DrawReason.LIKELY_EASY),
        "solved": (Verdict.SKIP, DrawReason.LIKELY_EASY),
        "hopeless": (Verdict.DEFER, DrawReason.LIKELY_HARD),
    }


def test_another_target_seeks_easier_prompts() -> None:
    candidates = [make_believed("easy", 9e5, 1e5), make_believed("half", 5e5, 5e5)]
    ranking = Mopps(pilots=2, commits=6, target=0.9).rank(candidates, make_demand(prompts=1), np.random.default_rng(0))
    assert ranking.claim == ("easy",)


def test_a_prompt_is_claimed_as_often_as_its_draw_is_the_closer_one() -> None:
    """Thompson sampling: of Beta(1, 1) and Beta(1, 1) each is closer half of the time, whatever the order."""
    candidates = [make_believed("one", 1, 1), make_believed("other", 1, 1)]
    rng = np.random.default_rng(0)
    claims = [RULE.rank(candidates, make_demand(prompts=1), rng).claim for _ in range(2000)]
    assert claims.count(("one",)) / 2000 == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(2000))


def test_uncertainty_is_explored_and_certainty_of_a_bad_prompt_is_not() -> None:
    candidates = [make_believed("unknown", 1, 1), make_believed("solved", 99, 1)]
    rng = np.random.default_rng(0)
    claims = [RULE.rank(candidates, make_demand(prompts=1), rng).claim for _ in range(500)]
    assert claims.count(("unknown",)) > 470


@given(
    st.lists(st.tuples(st.floats(0.05, 50), st.floats(0.05, 50)), max_size=20),
    st.integers(-1, 8),
    st.integers(1, 5),
    st.integers(0, 2**32 - 1),
)
def test_a_set_of_candidates_is_used_once_and_split_in_claimed_and_passed_over(
    beliefs: list[tuple[float, float]], wanted: int, per_claim: int, seed: int
) -> None:
    candidates = [make_believed(f"p{index}", a, b) for index, (a, b) in enumerate(beliefs)]
    rule = Mopps(pilots=2, commits=6, candidates_per_claim=per_claim)
    ranking = rule.rank(candidates, make_demand(prompts=wanted), np.random.default_rng(seed))
    passed = [passed.prompt_id for passed in ranking.passed_over]
    wanted = max(0, wanted)
    assert len(ranking.claim) == min(wanted, len(beliefs))
    assert len({*ranking.claim, *passed}) == min(per_claim * wanted, len(beliefs)) == len(ranking.claim) + len(passed)


def test_prompts_whose_turn_in_the_epoch_is_over_are_considered_last() -> None:
    seen = Candidate(prompt_id="seen", evidence=make_evidence(verdicts=(Verdict.SKIP,)))
    fresh = [make_believed(f"p{index}", 1, 1) for index in range(4)]
    ranking = RULE.rank([seen, *fresh], make_demand(prompts=1), np.random.default_rng(0))
    assert "seen" not in {*ranking.claim, *(passed.prompt_id for passed in ranking.passed_over)}


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: Mopps(pilots=2, commits=6, target=1.5), "parameters.target"),
        (lambda: Mopps(pilots=2, commits=6, target=math.nan), "parameters.target"),
        (lambda: Mopps(pilots=2, commits=6, candidates_per_claim=0), "parameters.candidates_per_claim"),
    ],
)
def test_a_rule_that_makes_no_sense_cannot_be_built(build: object, field: str) -> None:
    assert callable(build)
    with pytest.raises(InvalidInput) as caught:
        build()
    assert caught.value.field == field
