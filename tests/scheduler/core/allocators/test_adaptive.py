"""Our own rule: what it does with what it knows."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.allocators.adaptive import Adaptive, AdaptiveReason
from scheduler.core.allocators.interface import Allocator, Candidate, Commit, Experience, More, PassedOver, Settle
from scheduler.core.errors import InvalidInput
from scheduler.core.informativeness import Belief, Evidence
from scheduler.core.prior import Prior
from scheduler.core.types import Stage, Verdict
from tests.factories import make_rollout
from tests.scheduler.core.factories import make_demand, make_evidence, make_rollouts

RULE = Adaptive(pilots=16, commits=48)
U_SHAPED = Prior(a0=0.2, b0=0.3)


def taught(rule: Adaptive = RULE, *, price: float = 0.1, prior: Prior = U_SHAPED, tokens: float = 4.0) -> Adaptive:
    """The rule after long experience of such a pool."""
    experience = Experience(
        step=1, epoch=0, prior=prior, num_rollouts=10_000, num_tokens=round(10_000 * tokens), signal=10_000 * price
    )
    for _ in range(60):
        rule = rule.adapted(experience)
    return rule


def unvisited() -> Evidence:
    """What is believed of a prompt of such a pool before its first visit."""
    return Evidence.fresh(U_SHAPED, 0)


def known(right: float, wrong: float, *, tokens: float = 4.0) -> Evidence:
    """A prompt that was visited, with so much evidence beyond the prior."""
    belief = Belief(a=U_SHAPED.a0 + right, b=U_SHAPED.b0 + wrong, version=0)
    evidence = replace(make_evidence(verdicts=(Verdict.SKIP,)), belief=belief, tokens_per_rollout=tokens)
    return replace(evidence, num_pilots=round(right + wrong))


def candidate(name: str, evidence: Evidence) -> Candidate:
    return Candidate(prompt_id=name, evidence=evidence)


def test_it_asks_for_what_the_run_allows_on_demand() -> None:
    rule: Allocator = RULE
    assert (rule.name, rule.largest_group, rule.round_batches, rule.discards_surplus) == ("adaptive", 64, None, False)
    assert Adaptive(pilots=4, commits=4, rounds=3).round_batches == 3


def test_a_prompt_nobody_knows_gets_a_few_pilots_first() -> None:
    assert taught().decide(unvisited(), ()) == More(count=4)
    assert Adaptive(pilots=2, commits=6).decide(unvisited(), ()) == More(count=2)
    assert Adaptive(pilots=16, commits=48, pilot_step=16).decide(unvisited(), ()) == More(count=16)


@pytest.mark.parametrize("remember", [0, 1])
def test_a_prompt_nobody_knows_gets_pilots_even_where_the_prior_speaks_for_a_group_unseen(remember: int) -> None:
    rule = Adaptive(pilots=8, commits=24, smallest_group=16, noise_scale=32, remember=remember)
    assert rule.decide(unvisited(), ()) == More(count=4)
    varied = replace(known(8, 8), belief=Belief(a=8.0, b=8.0, version=0))
    assert rule.decide(varied, ()) == (Commit(count=16) if remember else More(count=4))


@pytest.mark.parametrize(
    ("right", "count", "what"),
    [
        (0, 4, Settle(verdict=Verdict.DEFER, reason=AdaptiveReason.TOO_HARD, revisit_after=0)),
        (8, 8, Settle(verdict=Verdict.SKIP, reason=AdaptiveReason.TOO_EASY, revisit_after=0)),
        (2, 4, Commit(count=60)),
        (8, 16, Commit(count=48)),
    ],
)
def test_pilots_end_as_soon_as_the_verdict_is_settled(right: int, count: int, what: object) -> None:
    assert taught().decide(unvisited(), make_rollouts(right, count)) == what


def test_doubtful_pilots_are_followed_by_more() -> None:
    doubtful = [
        right for right in range(5) if taught(price=0.15).decide(unvisited(), make_rollouts(right, 4)) == More(count=4)
    ]
    assert doubtful == [1, 3]


def test_a_dearer_rollout_narrows_the_band() -> None:
    def committed(price: float) -> int:
        rule = taught(price=price)
        return sum(isinstance(rule.decide(unvisited(), make_rollouts(right, 16)), Commit) for right in range(17))

    assert [committed(price) for price in (0.02, 0.1, 0.2, 0.24)] == sorted(
        (committed(price) for price in (0.02, 0.1, 0.2, 0.24)), reverse=True
    )
    assert committed(0.02) > committed(0.2) > 0


def test_a_prompt_known_to_vary_is_committed_unseen() -> None:
    assert taught().decide(known(30, 30), ()) == Commit(count=64)
    assert taught(Adaptive(pilots=16, commits=48, remember=0)).decide(known(30, 30), ()) == More(count=4)


def test_a_group_that_was_begun_is_completed_whatever_its_commits_say() -> None:
    rollouts = (*make_rollouts(2, 4), *make_rollouts(0, 10, Stage.COMMIT))
    assert taught(price=0.2).decide(unvisited(), rollouts) == Commit(count=50)


def test_history_passes_over_what_is_not_worth_a_visit_and_ranks_the_rest_by_worth() -> None:
    rule = taught(replace(RULE, floor=0.0))
    candidates = [
        candidate("solved", known(60, 0)),
        candidate("fresh", unvisited()),
        candidate("hopeless", known(0, 60)),
        candidate("even", known(30, 30)),
        candidate("hard", known(10, 50)),
    ]
    ranking = rule.rank(candidates, make_demand(prompts=9), np.random.default_rng(0))
    assert ranking.claim == ("even", "hard", "fresh")
    assert ranking.passed_over == (
        PassedOver(prompt_id="solved", verdict=Verdict.SKIP, reason=AdaptiveReason.TOO_EASY),
        PassedOver(prompt_id="hopeless", verdict=Verdict.DEFER, reason=AdaptiveReason.TOO_HARD),
    )
    assert rule.rank(candidates, make_demand(prompts=1), np.random.default_rng(0)).claim == ("even",)


def test_evidence_that_has_faded_is_worth_a_visit_again() -> None:
    rule, old = taught(replace(RULE, floor=0.0), price=0.02), known(0, 30)
    rng = np.random.default_rng(0)
    assert not rule.rank([candidate("x", unvisited()), candidate("old", old)], make_demand(), rng).claim[1:]
    faded = old.aged(400, U_SHAPED, 0.98)
    assert "old" in rule.rank([candidate("x", unvisited()), candidate("old", faded)], make_demand(), rng).claim


def test_the_floor_never_lets_a_prompt_go() -> None:
    rule, rng = taught(replace(RULE, floor=0.05)), np.random.default_rng(0)
    candidates = [candidate("fresh", unvisited()), candidate("solved", known(60, 0))]
    claimed = sum("solved" in rule.rank(candidates, make_demand(), rng).claim for _ in range(4000))
    assert claimed == pytest.approx(200, abs=60)


def test_where_nobody_is_worth_a_visit_the_best_are_visited_all_the_same() -> None:
    rule = taught(replace(RULE, floor=0.0), price=0.24)
    candidates = [candidate("solved", known(60, 0)), candidate("nearly", known(58, 2))]
    ranking = rule.rank(candidates, make_demand(prompts=1), np.random.default_rng(0))
    assert (ranking.claim, ranking.passed_over) == (("nearly",), ())


def test_nobody_to_rank_is_no_one_claimed() -> None:
    assert taught().rank([], make_demand(), np.random.default_rng(0)).claim == ()


def test_long_rollouts_are_dearer() -> None:
    cheap, dear = known(6, 54, tokens=2.0), known(6, 54, tokens=16.0)
    candidates = [candidate("fresh", unvisited()), candidate("cheap", cheap), candidate("dear", dear)]

    def claimed(rule: Adaptive) -> set[str]:
        return set(rule.rank(candidates, make_demand(), np.random.default_rng(0)).claim) - {"fresh"}

    assert claimed(taught(replace(RULE, floor=0.0), price=0.06)) == {"cheap"}
    assert claimed(taught(replace(RULE, floor=0.0, cost_aware=0), price=0.06)) == {"cheap", "dear"}


def test_a_solved_prompt_can_be_given_up_for_good() -> None:
    rule = taught(replace(RULE, evict_solved=1))
    settled = rule.decide(unvisited(), make_rollouts(8, 8))
    assert settled == Settle(verdict=Verdict.EVICT, reason=AdaptiveReason.TOO_EASY, revisit_after=None)
    assert rule.decide(unvisited(), make_rollouts(0, 4)) == taught().decide(unvisited(), make_rollouts(0, 4))


def test_exploring_commits_mixed_pilots_as_often_as_it_says_and_records_it() -> None:
    rule, commits = taught(replace(RULE, explore=0.25), price=0.22), 0
    for visit in range(2000):
        rollouts = tuple(make_rollout(reward=float(index < 3), rid=f"{visit}-{index}") for index in range(4))
        match rule.decide(known(40, 2), rollouts):
            case Commit(count=count, selection_probability=probability):
                commits += 1
                assert (count, probability) == (60, 0.25)
            case decision:
                assert isinstance(decision, Settle)
    assert commits == pytest.approx(500, abs=80)


def test_a_group_may_be_smaller_where_its_last_rollouts_are_worth_little() -> None:
    rule = taught(Adaptive(pilots=8, commits=56, smallest_group=8, noise_scale=32.0), price=0.1)
    sizes = [
        decision.count
        for evidence in (known(30, 30), known(15, 45))
        if isinstance(decision := rule.decide(evidence, ()), Commit)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert 8 <= sizes[-1] < sizes[0] < 64


@given(st.integers(0, 16), st.integers(0, 16), st.floats(0.001, 0.249), st.sampled_from([0, 1]))
def test_a_visit_always_ends_within_its_claim(right: int, more: int, price: float, remember: int) -> None:
    rule = taught(replace(RULE, remember=remember), price=price)
    evidence, count = known(right, more), 0
    while isinstance(decision := rule.decide(evidence, make_rollouts(min(right, count), count)), More):
        count += decision.count
        assert count <= 16
    assert isinstance(decision, Settle) or count + decision.count == 64


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("floor", -0.1),
        ("floor", 1.1),
        ("explore", 2.0),
        ("remember", 2),
        ("cost_aware", -1),
        ("evict_solved", 3),
        ("rounds", 0),
        ("pilot_step", 0),
        ("smallest_group", 0),
        ("smallest_group", 65),
        ("noise_scale", -1.0),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(parameter: str, value: float) -> None:
    change: dict[str, Any] = {parameter: value}
    with pytest.raises(InvalidInput) as refused:
        replace(RULE, **change)
    assert refused.value.field == f"parameters.{parameter}"


def test_a_rule_without_pilots_is_refused() -> None:
    with pytest.raises(InvalidInput, match="pilots >= 1"):
        Adaptive(pilots=0, commits=8)


def foreseen(name: str, right: float, wrong: float) -> Candidate:
    """A prompt that nobody visited, with what its wording is worth."""
    return replace(candidate(name, worded(right, wrong)), foreseen=True)


def worded(right: float, wrong: float) -> Evidence:
    return replace(unvisited(), belief=Belief(a=right, b=wrong, version=0))


def test_what_is_foreseen_to_teach_nothing_is_passed_over_and_says_so() -> None:
    candidates = [foreseen("hard", 0.2, 8.0), foreseen("mixed", 3.0, 3.0), foreseen("easy", 8.0, 0.2)]
    ranking = taught(replace(RULE, floor=0.0)).rank(candidates, make_demand(), np.random.default_rng(0))
    assert ranking.claim == ("mixed",)
    assert set(ranking.passed_over) == {
        PassedOver(prompt_id="hard", verdict=Verdict.DEFER, reason=AdaptiveReason.FORESEEN_HARD),
        PassedOver(prompt_id="easy", verdict=Verdict.SKIP, reason=AdaptiveReason.FORESEEN_EASY),
    }


def test_what_is_foreseen_to_teach_nothing_is_visited_now_and_then() -> None:
    candidates = [foreseen("mixed", 3.0, 3.0), *(foreseen(f"hard{index}", 0.2, 8.0) for index in range(400))]
    ranking = taught(replace(RULE, floor=0.1)).rank(candidates, make_demand(prompts=400), np.random.default_rng(0))
    assert 20 <= len(ranking.claim) - 1 <= 60


def test_who_is_foreseen_to_teach_most_comes_first() -> None:
    candidates = [foreseen("so", 1.0, 3.0), foreseen("best", 4.0, 4.0), candidate("unknown", worded(0.2, 0.3))]
    ranking = taught().rank(candidates, make_demand(), np.random.default_rng(0))
    assert ranking.claim[0] == "best"
    assert "unknown" in ranking.claim


@pytest.mark.parametrize(("foresee", "remember", "foresees"), [(1, 1, True), (0, 1, False), (1, 0, False)])
def test_it_foresees_unless_told_not_to(foresee: int, remember: int, foresees: bool) -> None:
    assert replace(RULE, foresee=foresee, remember=remember).foresees is foresees


def test_what_is_foreseen_decides_when_pilots_end() -> None:
    """Four right of four: for all that is known it may be trivial; where its like are mostly wrong, it is not."""
    pilots = make_rollouts(4, 4)
    assert taught().decide(worded(0.2, 0.3), pilots) == More(count=4)
    assert isinstance(taught().decide(worded(3.0, 9.0), pilots), Commit)
